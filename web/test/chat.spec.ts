/** Two people in two windows, on a good day and on a bad one. */

import { expect, test } from './courtyard.js';

const lines = (count: number) => Array.from({ length: count }, (_, n) => ({ key: crypto.randomUUID(), body: `line ${n}.` }));

/** How long somebody is away. */
const AWAY_MS = 60_000;

test('two people find each other, chat, and see typing, presence and read marks', async ({ friends }) => {
  const [jisoo, minho] = await friends();

  await jisoo.field.pressSequentially('안녕');
  await expect(minho.page.getByText('Jisoo is typing').first()).toBeVisible();
  await jisoo.field.press('Enter');
  await expect(minho.message('안녕')).toBeVisible();
  await expect(jisoo.page.getByText('Read', { exact: true })).toBeVisible();
  await minho.say('Hello, Jisoo');
  await expect(jisoo.message('Hello, Jisoo')).toBeVisible();
  await expect(jisoo.page.getByRole('main').getByText('Online', { exact: true })).toBeVisible();

  await minho.context.close();
  await expect(jisoo.page.getByRole('main').getByText('Offline', { exact: true })).toBeVisible({ timeout: 40_000 });
});

test('what was not read is counted, divided off, and read once it is seen', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('before');
  await expect(minho.message('before')).toBeVisible();
  await minho.place('Chats').click();
  for (const body of ['one', 'two', 'three']) await jisoo.say(body);

  const entry = minho.page.getByTestId('rooms').getByRole('link', { name: 'Jisoo' });
  await expect(entry).toContainText('3 unread messages');
  await expect(entry).toContainText('three');
  await expect(minho.place('Chats')).toContainText('3');
  await entry.click();
  await expect(minho.page.getByText('New', { exact: true })).toBeVisible();
  await expect(entry).not.toContainText('unread');
  await expect(minho.place('Chats')).not.toContainText('3');
  await expect(jisoo.page.getByText('Read', { exact: true })).toBeVisible();
});

test('a group is made, found, joined and left, and somebody is mentioned in it', async ({ friends, join }) => {
  const [jisoo, minho] = await friends();
  const hana = await join('Hana');
  await jisoo.page.getByRole('button', { name: 'New room' }).click();
  const dialog = jisoo.page.getByRole('dialog');
  await dialog.getByLabel('Name of the room').fill('Lantern makers');
  await dialog.getByLabel('Anybody may find').check();
  await dialog.getByRole('checkbox', { name: 'Minho' }).check();
  await dialog.getByRole('button', { name: 'New room' }).click();
  await expect(jisoo.page.getByRole('textbox', { name: 'Write to Lantern makers' })).toBeVisible();
  await jisoo.field.pressSequentially('Welcome @mi');
  const meant = jisoo.page.getByRole('option', { name: /Minho/ });
  await meant.waitFor();
  await jisoo.field.press('Escape');
  await expect(meant).toHaveCount(0);
  await jisoo.field.press('n');
  await expect(meant).toHaveCount(0);
  for (const _ of '@min') await jisoo.field.press('Backspace');
  await jisoo.field.pressSequentially('@mi');
  await meant.waitFor();
  // Nobody types faster than this.
  await jisoo.field.evaluate((field) => {
    field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }));
    document.execCommand('insertText', false, 'and all');
  });
  await jisoo.field.press('Enter');
  await expect(jisoo.message('Welcome @minho and all')).toBeVisible();
  await minho.openRoom('Lantern makers');
  await expect(minho.message('Welcome @minho and all').getByText('@minho')).toBeVisible();

  await hana.page.getByRole('button', { name: 'New room' }).first().click();
  await hana.page.getByRole('dialog').getByRole('listitem').filter({ hasText: 'Lantern makers' }).getByRole('button', { name: 'Join' }).click();
  await hana.say('Hello everybody');
  for (const person of [jisoo, minho]) await expect(person.message('Hello everybody')).toBeVisible();
  await hana.page.getByRole('button', { name: 'About this room' }).click();
  await hana.page.getByRole('button', { name: 'Leave the room' }).click();
  await expect(hana.page.getByTestId('rooms').getByRole('link', { name: 'Lantern makers' })).toHaveCount(0);
  await expect(jisoo.page.getByText('2 members')).toBeVisible();
});

test('what was said can be answered, changed, taken back and liked, and both see it', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('Shall we go to the sea?');

  const heard = minho.message('Shall we go to the sea?');
  await heard.hover();
  await heard.getByRole('button', { name: 'React 👍' }).click();
  await expect(jisoo.message('Shall we go to the sea?').getByRole('button', { name: '👍 1' })).toBeVisible();
  await heard.getByRole('button', { name: 'Reply' }).click();
  await minho.say('Yes, tomorrow');
  await expect(jisoo.message('Yes, tomorrow').getByRole('button', { name: /Shall we go to the sea/ })).toBeVisible();

  const own = jisoo.messages.filter({ hasText: 'Shall we go' }).first();
  await own.hover();
  await own.getByRole('button', { name: 'Edit' }).click();
  await jisoo.say('Shall we go to the mountains?');
  await expect(minho.messages.first()).toContainText('Shall we go to the mountains?');
  await expect(minho.messages.first()).toContainText('edited');

  jisoo.page.on('dialog', (dialog) => void dialog.accept());
  await jisoo.messages.first().hover();
  await jisoo.messages.first().getByRole('button', { name: 'Delete' }).click();
  await expect(minho.messages.first()).toContainText('This message was deleted.');
});

test('a server that is killed in the middle of a conversation loses and doubles nothing on either screen', async ({ friends, server }) => {
  const [jisoo, minho] = await friends();
  const said: string[] = [];
  const speak = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      const [from, body] = [n % 2 === 0 ? jisoo : minho, `number ${said.length}.`];
      said.push(body);
      await from.say(body);
    }
  };

  for (let round = 0; round < 3; round += 1) {
    await speak(6);
    await server.kill();
    // Nobody answers: what is written waits, and is seen to wait.
    await speak(4);
    await server.again();
  }
  await speak(2);

  for (const person of [jisoo, minho]) {
    await person.isLive();
    await expect(person.message(said.at(-1)!)).toBeVisible();
    await expect(person.log.locator('[data-state]')).toHaveCount(0);
    await expect.poll(async () => (await person.bodies()).toSorted()).toEqual(said.toSorted());
  }
  expect(await jisoo.bodies(), 'both see one order').toEqual(await minho.bodies());
});

test('who was offline for a minute comes back to everything, and what they wrote meanwhile arrives once', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('before');
  await expect(minho.message('before')).toBeVisible();

  // What a browser in a tunnel knows of it, and what all else in it feels.
  await minho.context.setOffline(true);
  minho.wire.isDown = true;
  minho.wire.cut();
  await expect(minho.page.getByText('Offline: what you write is kept').first()).toBeVisible();
  await minho.say('from the tunnel');
  await expect(minho.message('from the tunnel')).toContainText('Waiting for a connection');
  for (const body of ['one', 'two', 'three']) await jisoo.say(body);
  await minho.page.waitForTimeout(AWAY_MS);
  minho.wire.isDown = false;
  await minho.context.setOffline(false);

  const all = ['before', 'from the tunnel', 'one', 'three', 'two'];
  for (const person of [jisoo, minho]) {
    await expect(person.message('from the tunnel')).toBeVisible();
    await expect(person.log.locator('[data-state]')).toHaveCount(0);
    await expect.poll(async () => (await person.bodies()).toSorted()).toEqual(all);
  }
});

test('ten windows of somebody are one connection, and show the same', async ({ friends, server }) => {
  const connections = async () => {
    const figures = await (await fetch(`${server.url}/metrics`)).text();
    const lines = figures.split('\n').filter((line) => line.startsWith('madang_connections'));
    return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  };
  const [jisoo, minho] = await friends();
  await jisoo.say('to one window');
  const before = await connections();
  const pages = [];
  for (let n = 1; n < 10; n += 1) {
    const page = await minho.context.newPage();
    await page.goto(minho.page.url());
    pages.push(page);
  }
  for (const page of pages) await expect(page.locator('[data-connection=live]')).toBeAttached({ timeout: 60_000 });
  expect(await connections()).toBe(before);

  await jisoo.say('to all windows');
  for (const page of [minho.page, ...pages]) {
    const said = page.getByRole('log').getByRole('article');
    await expect(said).toHaveText([/to one window/, /to all windows/]);
  }
  await minho.page.close();
  await pages[0]!.getByRole('textbox', { name: /^Write to/ }).fill('the first window is closed');
  await pages[0]!.getByRole('textbox', { name: /^Write to/ }).press('Enter');
  await expect(jisoo.message('the first window is closed')).toBeVisible();
  await expect(pages[8]!.getByRole('log').getByRole('article')).toHaveCount(3);
});

test('a worker that dies in the middle of a conversation is not missed', async ({ friends, browser }) => {
  const [jisoo, minho] = await friends();
  await jisoo.say('before');
  await expect(minho.message('before')).toBeVisible();

  const cdp = await browser.newBrowserCDPSession();
  const { targetInfos } = await cdp.send('Target.getTargets');
  const workers = targetInfos.filter((it) => it.type === 'shared_worker');
  expect(workers).toHaveLength(2);
  for (const { targetId } of workers) await cdp.send('Target.closeTarget', { targetId });
  await minho.say('after');

  await expect(jisoo.message('after')).toBeVisible({ timeout: 60_000 });
  await jisoo.say('and on');
  await expect(minho.messages).toHaveText([/before/, /after/, /and on/]);
  await expect(jisoo.messages).toHaveText([/before/, /after/, /and on/]);
});

test('a browser without shared workers is connected by itself', async ({ join }) => {
  const jisoo = await join('Jisoo');
  await jisoo.page.addInitScript(() => delete (globalThis as { SharedWorker?: unknown }).SharedWorker);
  await jisoo.page.reload();
  await jisoo.isLive();
  const scripts = await jisoo.page.evaluate(() => performance.getEntriesByType('resource').map((it) => it.name));
  expect(scripts.filter((it) => it.includes('/openers-'))).toHaveLength(1);
});

test('what waits to be sent outlives the page', async ({ friends, server }) => {
  const [jisoo, minho] = await friends();
  await server.kill();
  await jisoo.say('written before the page went');
  await expect(jisoo.messages).toContainText(['written before the page went']);
  // It is seen before it is kept.
  await expect.poll(() => jisoo.keptMessages()).toBe(1);
  await jisoo.page.close();
  await server.again();

  const page = await jisoo.context.newPage();
  await page.goto(jisoo.page.url());
  await minho.isLive();
  await expect(minho.message('written before the page went')).toHaveCount(1);
  await expect(page.getByRole('log').getByRole('article').filter({ hasText: 'written before the page went' })).toHaveCount(1);
});

test('fifty kilobytes of hostile markup are text', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  const markup = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script><a href="javascript:window.hurt=1">x</a>{{7*7}}${7*7}';
  // Lanterns have four bytes each: sixteen thousand characters are the most that a message may have.
  const body = `${markup}${'🏮'.repeat(500 - markup.length)}`.repeat(32);
  expect(new TextEncoder().encode(body).length).toBeGreaterThan(50 * 1024);
  await jisoo.field.fill(body);
  await jisoo.field.press('Enter');

  const shown = minho.messages.first().locator('p');
  await expect(shown).toHaveText(body.trim());
  for (const { page } of [jisoo, minho]) {
    expect(await page.evaluate(() => 'hurt' in window)).toBe(false);
    await expect(page.getByRole('log').locator('img, script')).toHaveCount(0);
  }
});

test('nobody breaks the screen of others by what they call their messages', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.sayBeside([{ key: 'one-key', body: 'from Jisoo' }]);
  await minho.sayBeside(['one-key', 'unread'].map((key, n) => ({ key, body: `from Minho, ${n}` })));
  await jisoo.say('and on');

  for (const person of [jisoo, minho]) {
    await expect(person.messages).toHaveText([/from Jisoo/, ...[0, 1].map((n) => new RegExp(`from Minho, ${n}`)), /and on/]);
  }
});

test('what is sent is seen, however far up somebody was reading', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await minho.sayBeside(lines(130));
  await expect(jisoo.message('line 129.')).toBeVisible();
  await jisoo.log.evaluate((it) => (it.scrollTop = 0));
  await expect(jisoo.message('line 129.')).not.toBeInViewport();

  await jisoo.say('from further up');

  await expect(jisoo.message('from further up')).toBeInViewport();
  await expect(minho.message('from further up')).toBeVisible();
});

test('a handle that nobody has is text, and what was half written outlives an edit', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  await jisoo.field.pressSequentially('ping @everybody');
  await jisoo.field.press('Enter');
  await expect(minho.message('ping @everybody')).toBeVisible();

  await jisoo.field.fill('half written');
  await jisoo.message('ping @everybody').hover();
  await jisoo.message('ping @everybody').getByRole('button', { name: 'Edit' }).click();
  await expect(jisoo.field).toHaveValue('ping @everybody');
  await jisoo.field.press('Escape');
  await expect(jisoo.field).toHaveValue('half written');
});

test('a room of many pages scrolls to its beginning and back, and never has more than a window of it', async ({ friends }) => {
  test.slow();
  const [jisoo, minho] = await friends();
  const COUNT = 700;
  await jisoo.sayBeside(lines(COUNT));
  await expect(minho.message(`line ${COUNT - 1}.`)).toBeVisible();

  const seen = new Set<string>();
  const look = async () => {
    const bodies = await minho.bodies();
    expect(bodies.length).toBeLessThanOrEqual(240);
    const numbers = bodies.map((it) => Number(/\d+/.exec(it)?.[0]));
    expect(numbers, 'consecutive').toEqual(numbers.map((_, at) => numbers[0]! + at));
    for (const body of bodies) seen.add(body);
  };
  await expect(async () => {
    await minho.log.evaluate((it) => (it.scrollTop = 0));
    await look();
    await expect(minho.message('line 0.')).toBeVisible({ timeout: 200 });
  }).toPass({ timeout: 200_000, intervals: [50] });
  await look();
  const missing = Array.from({ length: COUNT }, (_, n) => `line ${n}.`).filter((it) => !seen.has(it));
  expect(missing, 'every line was on the screen').toEqual([]);

  await minho.page.getByRole('button', { name: 'Latest messages' }).click();
  await expect(minho.message(`line ${COUNT - 1}.`)).toBeVisible();
});

test('a message is written and sent with the keyboard alone', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  const { page } = jisoo;
  for (const body of ['one', 'two']) await minho.say(body);
  await expect(jisoo.message('two')).toBeVisible();
  await page.goto(`${new URL(page.url()).origin}/#/chats`);
  const room = page.getByTestId('rooms').getByRole('link', { name: 'Minho' });
  for (let presses = 0; presses < 30 && !(await room.evaluate((it) => it === document.activeElement)); presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(jisoo.field, 'whoever opens a room writes there').toBeFocused();
  await expect(jisoo.message('two')).toBeVisible();
  await expect(jisoo.field).toBeFocused();
  await page.keyboard.type('with the keyboard');
  await page.keyboard.press('Enter');
  await expect(minho.message('with the keyboard')).toBeVisible();
});

test('on a phone one thing has the screen at a time', async ({ join }) => {
  const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
  const [jisoo, minho] = [await join('Jisoo', phone), await join('Minho')];
  await jisoo.ask(minho);
  await jisoo.page.getByRole('link', { name: 'Back' }).click();
  await minho.accept(jisoo);
  await jisoo.open(minho);
  await expect(jisoo.page.getByTestId('rooms')).toBeHidden();
  await jisoo.say('from the phone');
  await minho.openRoom('Jisoo');
  await expect(minho.message('from the phone')).toBeVisible();
  const wide = () => jisoo.page.evaluate(() => [...document.querySelectorAll('html, main, section')].filter((it) => it.scrollWidth > it.clientWidth).map((it) => it.outerHTML.slice(0, 80)));
  expect(await wide(), 'nothing is wider than the screen').toEqual([]);
  await jisoo.page.getByRole('link', { name: 'Back' }).click();
  await expect(jisoo.page.getByTestId('rooms')).toBeVisible();
  for (const place of ['People', 'Notifications', 'Wallet', 'Settings']) {
    await jisoo.place(place).click();
    await expect(jisoo.page.getByRole('heading', { level: 1, name: place })).toBeVisible();
    await expect(jisoo.page.getByRole('status', { name: 'Loading' })).toHaveCount(0);
    expect(await wide(), place).toEqual([]);
  }
});

test('pictures are sent and shown', async ({ friends }) => {
  const [jisoo, minho] = await friends();
  const pixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
  await jisoo.page.locator('input[type=file]').setInputFiles({ name: 'sea.png', mimeType: 'image/png', buffer: Buffer.from(pixel, 'base64') });
  await expect(jisoo.page.getByRole('button', { name: 'Take the picture away' })).toBeVisible();
  await jisoo.page.getByRole('button', { name: 'Send', exact: true }).click();
  const picture = minho.log.getByRole('img', { name: 'sea.png' });
  await expect(picture).toBeVisible();
  await expect.poll(() => picture.evaluate((it: HTMLImageElement) => it.naturalWidth)).toBeGreaterThan(0);
});

test('a log-in outlives a reload, and a log-out ends it in every window', async ({ join }) => {
  const jisoo = await join('Jisoo');
  await jisoo.page.reload();
  await jisoo.isLive();
  const other = await jisoo.context.newPage();
  await other.goto(new URL(jisoo.page.url()).origin);
  await expect(other.getByRole('navigation')).toBeVisible();
  const kept = await jisoo.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  expect(kept, 'no script can read a token').not.toMatch(/ey[\w-]+\.[\w-]+\./);

  await jisoo.place('Settings').click();
  await jisoo.page.getByRole('button', { name: 'Log out' }).click();
  await expect(jisoo.page.getByRole('button', { name: 'Log in', exact: true })).toBeVisible();
  await expect(other.getByRole('button', { name: 'Log in', exact: true })).toBeVisible();
  await other.reload();
  await expect(other.getByRole('button', { name: 'Log in', exact: true })).toBeVisible();
});

test('a log-out that no server has heard of says so, and is tried again', async ({ join, server }) => {
  const { page } = await join('Jisoo');
  await page.getByRole('navigation').getByRole('link', { name: 'Settings' }).click();
  await expect(page.getByRole('button', { name: 'Log out' })).toBeVisible();
  await server.kill();
  await page.getByRole('button', { name: 'Log out' }).click();
  await expect(page.getByRole('alert')).toContainText('still logged in');
  await server.again();
  await page.getByRole('button', { name: 'Log out' }).click();
  await expect(page.getByRole('alert')).toHaveCount(0);

  await page.reload();
  await expect(page.getByRole('button', { name: 'Log in', exact: true })).toBeVisible();
});
