/** The pictures of the README, from the running app: `make screenshots`. */

import { fileURLToPath } from 'node:url';

import type { Page } from '@playwright/test';

import { expect, PASSWORD, test, type Person } from '../test/courtyard.js';

const FOLDER = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));
const WINDOW = { width: 1280, height: 800 };

const take = (page: Page, name: string) => page.screenshot({ path: `${FOLDER}${name}.png`, animations: 'disabled' });

/** A short talk, as it happens in a village. */
async function talk(jisoo: Person, minho: Person): Promise<void> {
  const lines: [Person, string][] = [
    [minho, 'Did you see the lanterns in the courtyard? 🏮'],
    [jisoo, '응, 너무 예뻐! I came by last night.'],
    [jisoo, 'The whole village was there.'],
    [minho, 'There is dancing on Saturday. Shall we go together?'],
    [jisoo, 'Yes! 몇 시에 만날까?'],
    [minho, 'Seven, at the well. https://madang.example/saturday'],
  ];
  for (const [from, body] of lines) {
    await from.say(body);
    for (const each of [jisoo, minho]) await expect(each.message(body)).toHaveCount(1);
  }
  const liked = jisoo.message('Shall we go together?');
  await liked.hover();
  await liked.getByRole('button', { name: 'React 🎉' }).click();
  await expect(liked.getByRole('button', { name: '🎉 1' })).toBeVisible();
  await jisoo.page.mouse.move(0, 0);
}

test('the app', async ({ join }) => {
  const [jisoo, minho, hana] = [await join('Jisoo', { viewport: WINDOW }), await join('Minho'), await join('Hana')];
  for (const other of [minho, hana]) {
    await jisoo.ask(other);
    await other.accept(jisoo);
    await other.open(jisoo);
  }
  await hana.say('The drums are tuned 🥁');
  await jisoo.open(minho);
  await talk(jisoo, minho);
  await minho.field.pressSequentially('And then', { delay: 600 });
  await expect(jisoo.page.getByText('Minho is typing').first()).toBeVisible();
  await take(jisoo.page, 'conversation');
  await jisoo.page.emulateMedia({ colorScheme: 'dark' });
  await take(jisoo.page, 'conversation-dark');
  await jisoo.page.setViewportSize({ width: 390, height: 844 });
  await take(jisoo.page, 'phone');
  await jisoo.page.emulateMedia({ colorScheme: 'light' });
  await jisoo.page.setViewportSize(WINDOW);
  await jisoo.place('People').click();
  await jisoo.page.getByRole('link', { name: 'Minho' }).click();
  await take(jisoo.page, 'people');
});

test('the console', async ({ friends, server }) => {
  const [jisoo, minho] = await friends();
  await server.command(['admin', 'create', '--handle', 'boss', '--email', 'boss@example.org'], { MADANG_ADMIN_PASSWORD: PASSWORD });
  const page = await jisoo.context.newPage();
  await page.setViewportSize(WINDOW);
  await page.goto(`${new URL(jisoo.page.url()).origin}/console`);
  await page.getByLabel('Handle or e-mail').fill('boss');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  const messages = page.getByTestId('chart Messages');
  await expect(async () => {
    // A talk with its pauses is what a chart is for.
    for (let n = Math.floor(Math.random() * 6); n > 0; n -= 1) await (n % 2 ? jisoo : minho).say('🏮');
    expect(Number(await messages.getAttribute('data-points'))).toBeGreaterThan(20);
  }).toPass({ timeout: 90_000, intervals: [1_000] });
  await take(page, 'console');
});
