/**
 * What the app costs in a browser, against the real program: what is loaded first, how soon it can be used, how the main
 * thread bears a crowd, and whether memory follows the messages. Prints one table; fails where a bound is not met.
 */

import { readdir, readFile } from 'node:fs/promises';
import { basename } from 'node:path';

import { expect, test, type CDPSession, type Page } from '@playwright/test';

import { Person, until } from '../../clients/typescript/test/people.js';
import { Server } from '../../clients/typescript/test/server.js';

const JS_KIB_MAX = 60;
const TASK_MS_MAX = 50;
const MEMORY_RATIO_MAX = 1.5;
const FEW = 1_000;
const MANY = 10_000;
const PER_SECOND = 100;
const ROUNDS = 5;
const PASSWORD = 'a courtyard full of lanterns';

interface Figure {
  name: string;
  value: string;
  bound: string;
  isMet: boolean;
}

test('what the app costs', async ({ browser }) => {
  test.setTimeout(600_000);
  const server = await Server.start();
  const figures: Figure[] = [];
  try {
    const page = await (await browser.newContext({ locale: 'en-US' })).newPage();
    await page.goto(server.url);
    await register(page);
    figures.push(await weight(page), await soon(page));
    figures.push(...(await crowd(server, page)));
  } finally {
    await server.remove();
  }

  console.log('| figure | value | bound | met |\n|---|---:|---|---|');
  for (const { name, value, bound, isMet } of figures) console.log(`| ${name} | ${value} | ${bound} | ${isMet ? 'yes' : 'no'} |`);
  expect(figures.filter((it) => !it.isMet).map((it) => it.name), 'bounds that are not met').toEqual([]);
});

async function register(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'New here?' }).click();
  await page.getByLabel('Name', { exact: true }).fill('Viewer');
  await page.getByLabel('Handle').fill('viewer');
  await page.getByLabel('E-mail').fill('viewer@example.org');
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Open an account' }).click();
  await isUsable(page);
}

/** The connection is live, and the list of rooms is there. */
async function isUsable(page: Page): Promise<void> {
  await page.locator('[data-connection=live]').waitFor({ state: 'attached' });
  await page.getByTestId('rooms').waitFor();
}

/** Scripts that are loaded until somebody who is logged in sees their rooms, the worker's too, as they are sent compressed. */
async function weight(page: Page): Promise<Figure> {
  await page.reload();
  await isUsable(page);
  const named = await page.evaluate(() =>
    performance.getEntriesByType('resource').flatMap((it) => (it.name.endsWith('.js') ? [new URL(it.name).pathname] : [])),
  );
  // Not every browser counts a worker among what a page has loaded.
  const workers = (await readdir(new URL('../dist/assets/', import.meta.url))).filter((it) => /^worker-.*\.js$/.test(it));
  const scripts = [...named, ...workers.map((it) => `/assets/${it}`)];
  let bytes = 0;
  for (const script of new Set(scripts)) {
    const file = new URL(`../dist/assets/${basename(script)}`, import.meta.url);
    const sent = await readFile(`${file.pathname}.gz`).catch(() => readFile(file));
    bytes += sent.length;
  }
  const kib = bytes / 1024;
  return { name: `JavaScript until the rooms are there, ${new Set(scripts).size} files, gzipped`, value: `${kib.toFixed(1)} KiB`, bound: `<= ${JS_KIB_MAX} KiB`, isMet: kib <= JS_KIB_MAX };
}

async function soon(page: Page): Promise<Figure> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await page.reload();
    await isUsable(page);
    times.push(await page.evaluate(() => performance.now()));
  }
  const median = times.toSorted((a, b) => a - b)[Math.floor(ROUNDS / 2)] ?? 0;
  return { name: `from a reload to rooms and a live connection, median of ${ROUNDS}`, value: `${median.toFixed(0)} ms`, bound: '', isMet: true };
}

async function crowd(server: Server, page: Page): Promise<Figure[]> {
  const sender = await Person.register(server.url);
  const viewer = await sender.rest.GET('/v1/users/search', { params: { query: { q: 'viewer' } } });
  const { data: room } = await sender.rest.POST('/v1/chat/rooms', { body: { kind: 'direct', user_id: viewer.data!.items[0]!.id } });
  const realtime = sender.realtime();
  realtime.start();
  await until(() => realtime.state.name === 'live', 'the sender is connected');
  await page.goto(`${server.url}/#/chats/${room!.id}`);
  await page.getByRole('log').waitFor();
  const cdp = await page.context().newCDPSession(page);

  let sent = 0;
  const say = async (upTo: number, perSecond: number) => {
    const begun = Date.now();
    const first = sent;
    const waiting: Promise<unknown>[] = [];
    for (; sent < upTo; sent += 1) {
      const due = begun + ((sent - first) * 1_000) / perSecond;
      if (due > Date.now()) await new Promise((tick) => setTimeout(tick, due - Date.now()));
      const body = { key: crypto.randomUUID(), body: `message ${sent}.` };
      waiting.push(sender.rest.POST('/v1/chat/rooms/{id}/messages', { params: { path: { id: room!.id } }, body }));
      if (waiting.length >= 32) await Promise.all(waiting.splice(0));
    }
    await Promise.all(waiting);
    await page.getByRole('article').filter({ hasText: `message ${upTo - 1}.` }).waitFor();
  };

  await say(10, PER_SECOND);
  await watchTasks(page);
  await say(FEW, PER_SECOND);
  const longest = await page.evaluate(() => (window as never as { longestTask: number }).longestTask);
  const few = await heap(cdp);
  await say(MANY, 1_000);
  const many = await heap(cdp);
  realtime.stop();
  const ratio = many / few;
  return [
    // The browser reports no task that is shorter than 50 ms.
    { name: `longest task while ${FEW} messages come, ${PER_SECOND} a second`, value: longest === 0 ? '< 50 ms' : `${longest.toFixed(0)} ms`, bound: `< ${TASK_MS_MAX} ms`, isMet: longest < TASK_MS_MAX },
    { name: `heap after ${MANY} messages beside after ${FEW}`, value: `${(many / 2 ** 20).toFixed(1)} / ${(few / 2 ** 20).toFixed(1)} MiB = ${ratio.toFixed(2)}`, bound: `<= ${MEMORY_RATIO_MAX}`, isMet: ratio <= MEMORY_RATIO_MAX },
  ];
}

async function watchTasks(page: Page): Promise<void> {
  await page.evaluate(() => {
    const told = window as never as { longestTask: number };
    told.longestTask = 0;
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) told.longestTask = Math.max(told.longestTask, entry.duration);
    }).observe({ type: 'longtask' });
  });
}

/** Bytes that are in use once what is not has been given back. */
async function heap(cdp: CDPSession): Promise<number> {
  await cdp.send('HeapProfiler.collectGarbage');
  const { usedSize } = await cdp.send('Runtime.getHeapUsage');
  return usedSize;
}
