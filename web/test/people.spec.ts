/** People and what is between them, and the bell that tells of it. */

import { answeredLate, expect, test } from './courtyard.js';

test('a request rings at once, leads to whoever asked, and is read everywhere', async ({ join }) => {
  const [jisoo, minho] = [await join('Jisoo'), await join('Minho')];
  const before = minho.page.getByTestId('notifications').getByRole('listitem');
  await minho.place('Notifications').click();
  await jisoo.ask(minho);
  const told = before.filter({ hasText: 'Jisoo' });
  await expect(told).toHaveCount(1);
  await expect(minho.place('People')).toContainText('1');
  await told.getByRole('button').first().click();
  await expect(minho.page.getByRole('button', { name: 'Accept', exact: true })).toBeVisible();
  await minho.page.getByRole('button', { name: 'Accept', exact: true }).click();
  await expect(jisoo.page.getByRole('button', { name: 'End friendship' })).toBeVisible();

  await minho.place('Notifications').click();
  // One tells of the account that was opened, and was not read yet.
  await minho.page.getByRole('button', { name: 'Mark all as read' }).click();
  await expect(minho.page.getByTestId('notifications').getByText('Unread')).toHaveCount(0);
  await expect(minho.place('Notifications')).not.toContainText(/\d/);
  await told.getByRole('button', { name: 'Put away' }).click();
  await expect(told).toHaveCount(0);

  await expect(jisoo.page).toHaveTitle(/^\(\d+\) madang$/);
  await jisoo.place('Settings').click();
  await jisoo.page.getByRole('button', { name: 'Log out' }).click();
  await expect(jisoo.page).toHaveTitle('madang');
});

test('what rings while the list is read is not lost with an answer from before', async ({ join }) => {
  const [jisoo, minho] = [await join('Jisoo'), await join('Minho')];
  await minho.place('Notifications').click();
  const late = await answeredLate(minho.page, '**/v1/notifications?*');
  await minho.page.reload();
  await late.isRead;
  await minho.isLive();
  await jisoo.ask(minho);
  await expect(minho.place('Notifications')).toContainText('1');
  await late.answer();
  // The other one tells of the account that was opened.
  await expect(minho.place('Notifications')).toContainText('2');
  await expect(minho.page.getByTestId('notifications').getByRole('listitem').filter({ hasText: 'Jisoo' })).toHaveCount(1);
});

test('friends are read to the last page', async ({ friends }) => {
  const [jisoo] = await friends();
  const { page } = jisoo;
  const hana = { id: crypto.randomUUID(), handle: 'hana', display_name: 'Hana' };
  await page.route('**/v1/friends?*', async (route) => {
    if (route.request().url().includes('cursor=more')) return route.fulfill({ json: { items: [{ user: hana, since: new Date().toISOString() }], next_cursor: null } });
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), next_cursor: 'more' } });
  });
  await page.reload();
  await jisoo.place('People').click();
  for (const name of ['Minho', 'Hana']) await expect(page.getByRole('link', { name })).toBeVisible();
});

test('a notification is chosen by what it is about, in words', async ({ join }) => {
  const { page } = await join('Jisoo');
  await page.getByRole('navigation').getByRole('link', { name: 'Notifications' }).click();
  await page.getByRole('button', { name: 'What you are told, and where' }).click();
  await expect(page.getByRole('group', { name: 'New messages' })).toBeVisible();
  expect((await page.getByRole('dialog').locator('legend').allInnerTexts()).filter((it) => it.includes('_'))).toEqual([]);
});

test('whoever is blocked is told that nothing can be sent, and finds nobody', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('hello');
  await expect(minho.message('hello')).toBeVisible();
  jisoo.page.on('dialog', (dialog) => void dialog.accept());
  await jisoo.place('People').click();
  await jisoo.page.getByRole('link', { name: 'Minho' }).click();
  await jisoo.page.getByRole('button', { name: 'Block', exact: true }).click();
  await expect(jisoo.page.getByRole('button', { name: 'Unblock' })).toBeVisible();

  await minho.say('are you there?');
  await expect(minho.message('are you there?')).toContainText('Not sent');
  await minho.message('are you there?').getByRole('button', { name: 'Give up' }).click();
  await expect(minho.message('are you there?')).toHaveCount(0);
  await minho.place('People').click();
  await minho.page.getByRole('searchbox').fill('jisoo');
  await expect(minho.page.getByText('Nobody found')).toBeVisible();
});

test('a profile, its picture and the words of the page are changed', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.place('Settings').click();
  await jisoo.page.getByLabel('About you').fill('I make lanterns.');
  await jisoo.page.getByRole('button', { name: 'Save' }).first().click();
  await expect(jisoo.page.getByText('Saved')).toBeVisible();
  await minho.place('People').click();
  await minho.page.getByRole('link', { name: 'Jisoo' }).click();
  await expect(minho.page.getByText('I make lanterns.')).toBeVisible();

  await jisoo.page.getByRole('button', { name: '한국어' }).click();
  await expect(jisoo.page.getByRole('heading', { level: 1, name: '설정' })).toBeVisible();
  await jisoo.page.reload();
  await expect(jisoo.page.getByRole('navigation').getByRole('link', { name: '채팅' })).toBeVisible();
});
