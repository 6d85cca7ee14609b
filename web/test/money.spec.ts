/** Paying with the development checkout, and seeing the wallet move. */

import { expect, test } from './courtyard.js';

test('somebody pays a friend, and the wallet of the friend moves', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.place('Wallet').click();
  await expect(jisoo.page.getByTestId('available')).toHaveText('₩0');

  await minho.place('Wallet').click();
  const { page } = minho;
  await page.getByRole('button', { name: 'Try a payment' }).click();
  await page.getByRole('dialog').getByLabel('Amount').fill('12000');
  await page.getByRole('dialog').getByRole('button', { name: 'Pay' }).click();
  await page.waitForURL(/checkout/);
  await page.locator('button[value=pay]').click();
  await expect(page.getByTestId('paid')).toHaveText('Paid.', { timeout: 40_000 });
  const payment = page.getByTestId('payments').getByRole('listitem').filter({ hasText: 'To Jisoo' });
  await expect(payment).toContainText('₩12,000');
  await expect(payment).toContainText('paid');

  await payment.getByRole('button', { name: 'It is done' }).click();
  await expect(jisoo.page.getByTestId('available')).not.toHaveText('₩0');
  await expect(jisoo.page.getByTestId('settlements').getByRole('listitem')).toContainText('₩12,000');
  await page.reload();
  await expect(page.getByTestId('payments').getByRole('listitem')).toHaveCount(1);
});
