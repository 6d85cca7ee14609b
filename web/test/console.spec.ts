/** The console: for administrators, who sign in to it each time. */

import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from '@playwright/test';

import { expect, PASSWORD, test } from './courtyard.js';

const SERIOUS = ['serious', 'critical'];

async function signIn(page: Page, handle: string): Promise<void> {
  await page.getByLabel('Handle or e-mail').fill(handle);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

interface Commanded {
  command(words: string[], variables: Record<string, string>): Promise<void>;
}

async function boss(server: Commanded, handle = 'boss'): Promise<void> {
  await server.command(['admin', 'create', '--handle', handle, '--email', `${handle}@example.org`], { MADANG_ADMIN_PASSWORD: PASSWORD });
}

test('nobody but an administrator sees anything of the console, and not after a reload', async ({ join, server }) => {
  const { page } = await join('Jisoo');
  await page.goto(`${new URL(page.url()).origin}/console`);
  await signIn(page, 'jisoo');
  await expect(page.getByRole('alert')).toContainText('does not administer');
  await expect(page.getByRole('navigation')).toHaveCount(0);

  await boss(server);
  await signIn(page, 'boss');
  await expect(page.getByRole('navigation', { name: 'Console' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
});

test('charts move, and every section can be read by anybody', async ({ friends, server }) => {
  const [jisoo] = await friends();
  await boss(server);
  const page = await jisoo.context.newPage();
  await page.goto(`${new URL(jisoo.page.url()).origin}/console`);
  await signIn(page, 'boss');

  const connections = page.getByTestId('chart Connections');
  await expect(connections).toContainText('2');
  const messages = page.getByTestId('chart Messages').locator('b');
  let said = 0;
  await expect(async () => {
    await jisoo.say(`number ${(said += 1)}.`);
    expect(Number(await messages.innerText())).toBeGreaterThan(0);
  }).toPass();
  for (const medium of ['mail', 'sms', 'push']) {
    const queue = page.getByTestId(`chart Queue of ${medium}`);
    await expect(queue.locator('b')).toHaveText(/^\d/);
    const before = Number(await queue.getAttribute('data-points'));
    await expect.poll(async () => Number(await queue.getAttribute('data-points'))).toBeGreaterThan(before);
  }

  const sections = ['Overview', 'Users', 'Rooms', 'Notifications', 'Payments', 'Audit', 'Settings'];
  for (const section of sections) {
    await page.getByRole('navigation', { name: 'Console' }).getByRole('link', { name: section }).click();
    await expect(page.getByRole('heading', { level: 1, name: section })).toBeVisible();
    await expect(page.getByRole('status', { name: 'Loading' })).toHaveCount(0);
    await expect(page.getByRole('alert')).toHaveCount(0);
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.filter((it) => SERIOUS.includes(it.impact ?? '')).map((it) => `${it.id}: ${it.nodes.map((node) => node.html).join('\n')}`), section).toEqual([]);
  }
  await page.getByRole('navigation', { name: 'Console' }).getByRole('link', { name: 'Payments' }).click();
  await page.getByRole('link', { name: 'Trial balance' }).click();
  await expect(page.getByRole('region', { name: 'Trial balance' }).or(page.getByText('Nothing here'))).toBeVisible();
});

test('money is moved by hand by two, and never without it', async ({ privateWindow, server }) => {
  const journalOf = async (handle: string) => {
    await boss(server, handle);
    const page = await (await privateWindow(handle)).newPage();
    await page.goto(`${server.url}/console`);
    await signIn(page, handle);
    await page.getByRole('navigation', { name: 'Console' }).getByRole('link', { name: 'Payments' }).click();
    await page.getByRole('link', { name: 'Manual journal' }).click();
    return page;
  };
  const act = async (page: Page, deed: string) => {
    await page.getByRole('button', { name: deed, exact: true }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Reason, for the audit').fill('The payer was found.');
    await dialog.getByRole('button', { name: deed, exact: true }).click();
    return dialog;
  };
  const one = await journalOf('minji');
  await one.getByRole('button', { name: 'Propose an entry' }).click();
  await one.getByRole('dialog').getByLabel('Account that is credited').fill('income:fee');
  await one.getByRole('dialog').getByLabel('Amount').fill('1200');
  await one.getByRole('dialog').getByLabel('Reason, for the audit').fill('The payer was found.');
  await one.getByRole('dialog').getByRole('button', { name: 'Propose an entry' }).click();
  const entry = one.getByRole('row').filter({ hasText: 'income:fee' });
  await expect(entry).toContainText('proposed');
  await expect((await act(one, 'Approve')).getByRole('alert')).toBeVisible();

  const other = await journalOf('haneul');
  const refused = await act(other, 'Approve');
  await expect(refused.getByRole('alert')).toBeVisible();
  await other.keyboard.press('Escape');
  await act(other, 'Reject');
  await expect(other.getByRole('row').filter({ hasText: 'income:fee' })).toContainText('rejected');
});
