/** The app and the console in a real browser, Debian's, against the real program: tested, measured, and taken pictures of. */

import { defineConfig, devices } from '@playwright/test';

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';

export default defineConfig({
  outputDir: '../target/browser',
  // Two windows and a server share two cores: one test at a time.
  workers: 1,
  retries: 0,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  forbidOnly: true,
  reporter: [['list']],
  projects: [
    { name: 'test', testDir: 'test' },
    { name: 'bench', testDir: 'bench', testMatch: '*.bench.ts' },
    { name: 'pictures', testDir: 'pictures', testMatch: '*.pictures.ts' },
  ],
  use: {
    ...devices['Desktop Chrome'],
    locale: 'en-US',
    timezoneId: 'Asia/Seoul',
    screenshot: 'only-on-failure',
    // As root there is no sandbox to have.
    launchOptions: { executablePath, args: ['--no-sandbox'] },
  },
});
