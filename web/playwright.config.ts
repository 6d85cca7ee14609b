/** The app and the console in a real browser: Debian's, against the real program. */

import { defineConfig, devices } from '@playwright/test';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'test',
  outputDir: '../target/browser',
  // Two windows and a server share two cores: one test at a time.
  workers: 1,
  retries: 0,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  forbidOnly: true,
  reporter: [['list']],
  use: {
    ...devices['Desktop Chrome'],
    locale: 'en-US',
    timezoneId: 'Asia/Seoul',
    screenshot: 'only-on-failure',
    // As root there is no sandbox to have.
    launchOptions: { executablePath, args: ['--no-sandbox'] },
  },
});
