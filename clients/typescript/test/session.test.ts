import { afterEach, expect, test, vi } from 'vitest';

import { Session, WebStorageLogin, type Account, type SessionSettings } from '../src/index.js';
import { Browser } from './browser.js';
import { Fixture } from './fixture.js';
import { until } from './people.js';

const fixture = new Fixture();
const open: Session[] = [];
const PASSWORD = 'a long walk home';

afterEach(() => {
  for (const session of open.splice(0)) session.close();
  vi.unstubAllGlobals();
});

/** A page of a browser, and whom it was told to have logged in. */
function page(browser: Browser, settings: Partial<SessionSettings> = { cookie: true }) {
  const session = new Session({ url: fixture.server.url, fetch: browser.fetch, ...settings });
  open.push(session);
  const told: (string | undefined)[] = [];
  session.on('changed', (account) => told.push(account?.id));
  return { session, told };
}

let count = 0;
const newcomer = () => {
  const handle = `keeper${process.pid}x${(count += 1)}`;
  return { handle, email: `${handle}@example.org`, password: PASSWORD, display_name: handle };
};

/** Whose token it is. */
async function owner(token: string): Promise<string> {
  const answer = await fetch(`${fixture.server.url}/v1/users/profile`, { headers: { authorization: `Bearer ${token}` } });
  return ((await answer.json()) as Account).id;
}

const refreshes = (browser: Browser) => browser.asked.filter(({ path }) => path === '/v1/auth/refresh').length;

test('the next page goes on with the login of the one before, which no script can read', async () => {
  const browser = new Browser();
  const { session: first } = page(browser);
  const account = await first.register(newcomer());
  expect(browser.cookies).toEqual([expect.stringMatching(/^__Host-/)]);
  expect(browser.asked).toMatchObject([{ body: { cookie: true } }]);

  const { session: next, told } = page(browser);
  expect(next.user).toBeUndefined();
  const resumed = await next.resume();

  expect(resumed).toMatchObject({ id: account.id, handle: account.handle });
  expect(next.user?.id).toBe(account.id);
  expect(told).toEqual([account.id]);
  expect(await owner(await next.token())).toBe(account.id);
  expect(JSON.stringify(browser.asked)).not.toContain('refresh_token');
});

test('a token that is good for a while is not asked for again', async () => {
  const browser = new Browser();
  const { session } = page(browser);
  await session.register(newcomer());

  expect(await session.token()).toBe(await session.token());
  expect(await session.resume()).toMatchObject({ id: session.user?.id });

  expect(refreshes(browser)).toBe(0);
});

test('a page that nobody is logged in on is told so, and asks no more', async () => {
  const browser = new Browser();
  const { session, told } = page(browser);

  expect(await session.resume()).toBeUndefined();
  await expect(session.token()).rejects.toMatchObject({ code: 'unauthenticated' });

  expect(refreshes(browser)).toBe(1);
  expect(told).toEqual([]);
});

test('a network that is away says nothing about a login', async () => {
  const browser = new Browser();
  const account = await page(browser).session.register(newcomer());
  const { session, told } = page(browser);
  browser.isOffline = true;
  await expect(session.resume()).rejects.toThrow('fetch failed');

  browser.isOffline = false;

  expect(await session.resume()).toMatchObject({ id: account.id });
  expect(told).toEqual([account.id]);
});

test('a cookie that is good for nothing any more ends the login of every page', async () => {
  const browser = new Browser();
  const [one, other] = [page(browser), page(browser)];
  const account = await one.session.register(newcomer());
  await other.session.resume();
  const token = await one.session.token();
  await fetch(`${fixture.server.url}/v1/auth/logout`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });

  await expect(one.session.renew()).rejects.toMatchObject({ code: 'invalid_refresh_token' });

  await until(() => other.told.length === 2, 'the other page hears of it');
  expect(one.told).toEqual([account.id, undefined]);
  expect(other.told).toEqual([account.id, undefined]);
  expect(browser.cookies).toEqual([]);
});

test('a logout in one tab logs the others out, and ends the login', async () => {
  const browser = new Browser();
  const [one, other] = [page(browser), page(browser)];
  const account = await one.session.register(newcomer());
  await other.session.resume();

  await one.session.logout();

  await until(() => other.told.length === 2, 'the other tab hears of it');
  expect(other.told).toEqual([account.id, undefined]);
  expect(browser.cookies).toEqual([]);
  const asked = browser.asked.length;
  await expect(other.session.token()).rejects.toMatchObject({ code: 'unauthenticated' });
  expect(browser.asked.length).toBe(asked);
  expect(await page(browser).session.resume()).toBeUndefined();
});

test('who logs in as somebody else in another tab is noticed, before anybody is given the token of that user', async () => {
  const browser = new Browser();
  const [one, other] = [page(browser), page(browser)];
  const ann = await one.session.register(newcomer());
  await other.session.resume();
  const steps: string[] = [];
  other.session.on('changed', (account) => steps.push(`told of ${account?.id}`));

  const ben = await one.session.register(newcomer());

  await until(() => other.told.length === 2, 'the other tab hears of it');
  steps.push(`token of ${await owner(await other.session.token())}`);
  expect(steps).toEqual([`told of ${ben.id}`, `token of ${ben.id}`]);
  expect(other.told).toEqual([ann.id, ben.id]);
  expect(other.session.user?.id).toBe(ben.id);
});

test('who logs in in another tab is logged in on a page that waited for it', async () => {
  const browser = new Browser();
  const [one, other] = [page(browser), page(browser)];
  expect(await other.session.resume()).toBeUndefined();

  const account = await one.session.register(newcomer());

  await until(() => other.session.user !== undefined, 'the other tab is logged in');
  expect(other.told).toEqual([account.id]);
});

test('tabs renew in turn', async () => {
  const browser = new Browser();
  vi.stubGlobal('navigator', { locks: browser.locks });
  const tabs = Array.from({ length: 4 }, () => page(browser));
  await tabs[0]?.session.register(newcomer());
  for (const tab of tabs) await tab.session.resume();
  browser.underWayMax = 0;

  const tokens = await Promise.all(tabs.map((tab) => tab.session.renew()));

  expect(new Set(tokens).size).toBe(4);
  expect(browser.underWayMax).toBe(1);
  for (const { session } of tabs) expect(session.user).toBeDefined();
});

test('a logout while a renewal is under way is not undone by its answer', async () => {
  const browser = new Browser();
  const { session, told } = page(browser);
  const account = await session.register(newcomer());
  const { arrived, letGo } = browser.holdBack('/v1/auth/refresh');
  const renewing = session.renew();
  await arrived;

  const leaving = session.logout();
  letGo();

  await expect(renewing).rejects.toMatchObject({ code: 'unauthenticated' });
  await leaving;
  expect(session.user).toBeUndefined();
  expect(told).toEqual([account.id, undefined]);
  expect(browser.cookies).toEqual([]);
  expect(await page(browser).session.resume()).toBeUndefined();
});

test('a login while a page still asks whether there is one is not undone by the answer', async () => {
  const browser = new Browser();
  const { handle } = await page(browser).session.register(newcomer());
  // A cookie that is good for nothing, which the server takes away as it says so.
  const { session: before } = page(browser);
  await before.resume();
  await fetch(`${fixture.server.url}/v1/auth/logout`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await before.token()}` },
  });
  const { session, told } = page(browser);
  const { arrived, letGo } = browser.holdBack('/v1/auth/refresh');
  const resuming = session.resume();
  await arrived;

  const entering = session.login(handle, PASSWORD);
  await fetch(`${fixture.server.url}/livez`);
  expect(browser.asked.at(-1)?.path).toBe('/v1/auth/refresh');
  letGo();

  await resuming;
  const account = await entering;
  expect(session.user?.id).toBe(account.id);
  expect(told).toEqual([account.id]);
  expect(browser.cookies.length).toBe(1);
  expect(await page(browser).session.resume()).toMatchObject({ id: account.id });
});

test('a logout that reaches nobody is one here, says that the browser still has the cookie, and may be said again', async () => {
  const browser = new Browser();
  const { session, told } = page(browser);
  const account = await session.register(newcomer());
  browser.isOffline = true;

  await expect(session.logout()).rejects.toThrow('fetch failed');
  expect(told).toEqual([account.id, undefined]);
  expect(browser.cookies.length).toBe(1);
  browser.isOffline = false;
  await expect(session.token()).rejects.toMatchObject({ code: 'unauthenticated' });
  await session.logout();

  expect(browser.cookies).toEqual([]);
  expect(await page(browser).session.resume()).toBeUndefined();
});

/** `localStorage`, as far as it is needed, with what the other pages are told of it. */
class FakeStorage {
  readonly #kept = new Map<string, string>();
  readonly #listeners = new Set<(event: StorageEvent) => void>();

  getItem = (key: string) => this.#kept.get(key) ?? null;
  setItem = (key: string, value: string) => this.#change(key, value);
  removeItem = (key: string) => this.#change(key, null);

  readonly globals = {
    addEventListener: (_: string, listener: (event: StorageEvent) => void) => this.#listeners.add(listener),
    removeEventListener: (_: string, listener: (event: StorageEvent) => void) => this.#listeners.delete(listener),
  };

  #change(key: string, newValue: string | null): void {
    const oldValue = this.getItem(key);
    if (newValue === null) this.#kept.delete(key);
    else this.#kept.set(key, newValue);
    const event = { storageArea: this, key, oldValue, newValue } as unknown as StorageEvent;
    // Browsers tell all pages but the one that did it; that it is told as well changes nothing.
    for (const listener of this.#listeners) listener(event);
  }
}

test('a login in storage is there for the next page without asking, and its other tabs hear of its end', async () => {
  const browser = new Browser();
  const shared = new FakeStorage();
  for (const [name, value] of Object.entries(shared.globals)) vi.stubGlobal(name, value);
  const settings = { storage: new WebStorageLogin(shared as unknown as Storage) };
  const one = page(browser, settings);
  const account = await one.session.register(newcomer());
  expect(browser.cookies).toEqual([]);
  const asked = browser.asked.length;

  const other = page(browser, settings);
  expect(await other.session.resume()).toMatchObject({ id: account.id });
  expect(browser.asked.length).toBe(asked);
  await one.session.renew();
  expect(other.told).toEqual([]);
  expect(await other.session.token()).toBe(await one.session.token());

  await one.session.logout();

  expect(other.told).toEqual([undefined]);
  expect(await other.session.resume()).toBeUndefined();
  expect(one.told).toEqual([account.id, undefined]);
});

test('a lost password and an unconfirmed address need no login', async () => {
  const { session } = page(new Browser(), {});
  const token = 'x'.repeat(43);

  await expect(session.requestPasswordReset('nobody@example.org')).resolves.toBeUndefined();
  await expect(session.resetPassword(token, 'another long walk')).rejects.toMatchObject({ name: 'RequestError' });
  await expect(session.verifyEmail(token)).rejects.toMatchObject({ name: 'RequestError' });
});
