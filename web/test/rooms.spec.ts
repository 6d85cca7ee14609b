/** Rooms: whose they are, what the list says of them, and a link to one that is not there. */

import { answeredLate, expect, test } from './courtyard.js';

test('an owner hands a room over, and leaves it', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  const { page } = jisoo;
  await page.getByRole('button', { name: 'New room' }).click();
  const making = page.getByRole('dialog');
  await making.getByLabel('Name of the room').fill('Lantern makers');
  await making.getByRole('checkbox', { name: 'Minho' }).check();
  await making.getByRole('button', { name: 'New room' }).click();
  await page.getByRole('button', { name: 'About this room' }).click();
  const about = page.getByRole('dialog');
  await about.getByRole('button', { name: 'Leave the room' }).click();
  await expect(about.getByRole('alert')).toContainText('somebody else the owner');

  page.on('dialog', (dialog) => void dialog.accept());
  const member = about.getByRole('listitem').filter({ hasText: 'Minho' });
  await member.getByRole('button', { name: 'Make owner' }).click();
  await expect(member.getByText('Owner', { exact: true })).toBeVisible();
  await expect(about.getByRole('button', { name: 'Make owner' })).toHaveCount(0);
  await about.getByRole('button', { name: 'Leave the room' }).click();
  await expect(page.getByTestId('rooms').getByRole('link', { name: 'Lantern makers' })).toHaveCount(0);
  await minho.openRoom('Lantern makers');
  await expect(minho.page.getByText('1 member', { exact: true })).toBeVisible();
});

test('what is said while rooms are read is not lost with an answer from before', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('one');
  await expect(minho.message('one')).toBeVisible();
  await minho.place('Chats').click();
  const entry = minho.page.getByTestId('rooms').getByRole('link', { name: 'Jisoo' });
  const late = await answeredLate(minho.page, '**/v1/chat/rooms?*');
  // Whoever looks at a window again has its rooms read.
  await minho.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await late.isRead;
  await jisoo.say('two');
  await expect(entry).toContainText('1 unread message');
  await late.answer();
  await expect(entry).toContainText('two');
  await expect(entry).toContainText('1 unread message');
});

test('on a phone, a link to a room that is not there leads back', async ({ join, server }) => {
  const { page } = await join('Jisoo', { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  const link = (id: string) => page.evaluate((to) => void (location.hash = to), `#/chats/${id}`);
  await link(crypto.randomUUID());
  await expect(page.getByText('There is no such room')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Try again' })).toHaveCount(0);
  await page.getByRole('link', { name: 'Back' }).click();
  await expect(page.getByRole('navigation')).toBeVisible();

  await server.kill();
  await link(crypto.randomUUID());
  await expect(page.getByText('The server does not answer.')).toBeVisible();
  await server.again();
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('There is no such room')).toBeVisible();
});

test('many names are looked up a few at a time, and again where the server wants it slower', async ({ join }) => {
  const { page } = await join('Jisoo');
  const PEERS = 60;
  const ids = Array.from({ length: PEERS }, (): string => crypto.randomUUID());
  const rooms = ids.map((peer_id) => ({
    id: crypto.randomUUID(),
    kind: 'direct',
    peer_id,
    head: 0,
    created_at: new Date().toISOString(),
    last_active_at: new Date().toISOString(),
    member_count: 2,
    notifications: { level: 'all' },
    read_receipts: true,
    read_seq: 0,
    role: 'member',
    unread_count: 0,
    visibility: 'private',
  }));
  await page.route('**/v1/chat/rooms?*', (route) => route.fulfill({ json: { items: rooms, next_cursor: null } }));
  let [asked, atOnce, most] = [0, 0, 0];
  await page.route('**/v1/users/*-*', async (route) => {
    most = Math.max(most, (atOnce += 1));
    const answer = await new Promise<number>((come) => setTimeout(() => come((asked += 1)), 20));
    atOnce -= 1;
    if (answer <= 8) return route.fulfill({ status: 429, headers: { 'retry-after': '1' }, json: { code: 'rate_limited' } });
    const id = new URL(route.request().url()).pathname.split('/').at(-1)!;
    return route.fulfill({ json: { id, handle: id.slice(0, 8), display_name: `Friend ${ids.indexOf(id)}.` } });
  });
  await page.reload();
  for (const n of [0, PEERS - 1]) await expect(page.getByTestId('rooms').getByRole('link', { name: `Friend ${n}.` })).toBeVisible();
  await expect(page.getByTestId('rooms').getByText('…', { exact: true })).toHaveCount(0);
  expect(most, 'at a time').toBeLessThanOrEqual(4);
  expect(asked, 'each once, but for those that were refused').toBe(PEERS + 8);
});
