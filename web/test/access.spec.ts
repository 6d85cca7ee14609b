/** Whoever cannot see, or cannot see well, is here too. */

import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from '@playwright/test';

import { expect, test } from './courtyard.js';

/** Findings that keep somebody out. */
const SERIOUS = ['serious', 'critical'];

async function findings(page: Page) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  return violations.filter((it) => SERIOUS.includes(it.impact ?? '')).map((it) => `${it.id}: ${it.nodes.map((node) => node.html).join('\n')}`);
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`nothing serious is found in any place of the app, ${colorScheme}`, async ({ friends }) => {
    const [jisoo, minho] = await friends();
    const { page } = jisoo;
    await page.emulateMedia({ colorScheme });
    await minho.say('Hello @jisoo, see https://example.org');
    await jisoo.say('Hello');
    await expect(jisoo.messages).toHaveCount(2);
    expect(await findings(page), 'a conversation').toEqual([]);
    await jisoo.messages.first().hover();
    expect(await findings(page), 'what can be done with a message').toEqual([]);
    await page.getByRole('button', { name: 'About this room' }).click();
    await expect(page.getByRole('dialog').getByText('Minho')).toBeVisible();
    expect(await findings(page), 'about a room').toEqual([]);
    await page.keyboard.press('Escape');

    for (const place of ['Chats', 'People', 'Notifications', 'Wallet', 'Settings']) {
      await jisoo.place(place).click();
      await expect(page.getByRole('heading', { level: 1, name: place })).toBeVisible();
      await expect(page.getByRole('status', { name: 'Loading' })).toHaveCount(0);
      expect(await findings(page), place).toEqual([]);
    }
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByRole('button', { name: 'New here?' }).click();
    expect(await findings(page), 'the front').toEqual([]);
  });
}

test('the page speaks Korean where the browser does', async ({ privateWindow, server }) => {
  const page = await (await privateWindow('Jisoo', { locale: 'ko-KR' })).newPage();
  await page.goto(server.url);
  await expect(page.getByRole('button', { name: '로그인' })).toBeVisible();
  await expect(page.locator('html')).toHaveAttribute('lang', 'ko');
  await page.getByRole('button', { name: 'English' }).click();
  await expect(page.getByRole('button', { name: 'Log in', exact: true })).toBeVisible();
});
