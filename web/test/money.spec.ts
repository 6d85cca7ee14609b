/** Paying with the development checkout, and seeing the wallet move. */

import { expect, test, type Person } from './courtyard.js';

/** Pays with the development checkout, and says that it was earned. */
async function pay(payer: Person, payee: Person): Promise<void> {
  await payer.place('Wallet').click();
  const { page } = payer;
  await page.getByRole('button', { name: 'Try a payment' }).click();
  await page.getByRole('dialog').getByLabel('Amount').fill('12000');
  await page.getByRole('dialog').getByRole('button', { name: 'Pay' }).click();
  await page.waitForURL(/checkout/);
  await page.locator('button[value=pay]').click();
  await expect(page.getByTestId('paid')).toHaveText('Paid.', { timeout: 40_000 });
  const payment = page.getByTestId('payments').getByRole('listitem').filter({ hasText: `To ${payee.name}` });
  await expect(payment).toContainText('₩12,000');
  await expect(payment).toContainText('paid');
  await payment.getByRole('button', { name: 'It is done' }).click();
}

test('somebody pays a friend, and the wallet of the friend moves', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.place('Wallet').click();
  await expect(jisoo.page.getByTestId('available')).toHaveText('₩0');

  await pay(minho, jisoo);
  await expect(jisoo.page.getByTestId('available')).not.toHaveText('₩0');
  await expect(jisoo.page.getByTestId('settlements').getByRole('listitem')).toContainText('₩12,000');
  await minho.page.reload();
  await expect(minho.page.getByTestId('payments').getByRole('listitem')).toHaveCount(1);

  await minho.page.route('**/v1/payments/history?*', async (route) => {
    const answer = await route.fetch({ url: route.request().url().replace(/&cursor=more/, '') });
    const { items } = await answer.json();
    const isMore = route.request().url().includes('cursor=more');
    const page = Array.from({ length: isMore ? 1 : 30 }, () => ({ ...items[0], id: crypto.randomUUID() }));
    await route.fulfill({ response: answer, json: { items: page, next_cursor: isMore ? null : 'more' } });
  });
  await minho.page.reload();
  await expect(minho.page.getByTestId('payments').getByRole('listitem')).toHaveCount(30);
  await minho.page.getByRole('button', { name: 'More' }).click();
  await expect(minho.page.getByTestId('payments').getByRole('listitem')).toHaveCount(31);
});

test('money is taken out, under one key until there is an answer', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await pay(minho, jisoo);
  const { page } = jisoo;
  await jisoo.place('Wallet').click();
  await expect(page.getByTestId('available')).not.toHaveText('₩0');
  await page.getByRole('button', { name: 'Take money out' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Bank code').fill('088');
  await dialog.getByLabel('Account number').fill('110123456789');
  await dialog.getByLabel('Account holder').fill('Jisoo');
  await dialog.getByRole('button', { name: 'Add a bank account' }).click();
  await dialog.getByLabel('Amount').fill('1000');

  const keys: string[] = [];
  await page.route('**/v1/payments/withdraw', async (route) => {
    keys.push((await route.request().headerValue('idempotency-key')) ?? '');
    if (keys.length > 2) return route.continue();
    await route.abort();
  });
  const press = () => dialog.getByRole('button', { name: 'Take money out' }).click();
  await press();
  await expect(dialog.getByRole('alert')).toContainText('does not answer');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Take money out' }).click();
  await dialog.getByLabel('Amount').fill('1000');
  await press();
  await expect(dialog.getByRole('alert')).toContainText('does not answer');
  await press();
  await expect(dialog.getByRole('alert')).toContainText('not confirmed');
  await dialog.getByRole('button', { name: 'It is mine' }).click();
  await expect(dialog.getByRole('button', { name: 'It is mine' })).toHaveCount(0);
  await dialog.getByLabel('Amount').fill('1000');
  await press();

  await expect(dialog).toHaveCount(0);
  await expect(page.getByRole('listitem').filter({ hasText: '₩1,000' })).toHaveCount(1);
  await expect(page.getByTestId('available')).toHaveText('₩11,000');
  expect(new Set(keys.slice(0, 3)).size, 'one key until the server has answered').toBe(1);
  expect(new Set(keys).size, 'and another one afterwards').toBe(2);
});
