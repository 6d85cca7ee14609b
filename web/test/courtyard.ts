/** A server of its own for each test, and people at it, each in a private window. Whatever a page must not do fails the test. */

import { expect, test as base, type BrowserContext, type BrowserContextOptions, type Locator, type Page, type Route } from '@playwright/test';

import { Proxy } from '../../clients/typescript/test/proxy.js';
import { Server } from '../../clients/typescript/test/server.js';

export const PASSWORD = 'a courtyard full of lanterns';

/** Somebody at a window of theirs. */
export class Person {
  constructor(
    readonly name: string,
    readonly context: BrowserContext,
    readonly page: Page,
    /** Between this browser and the server, to be cut. */
    readonly wire: Proxy,
  ) {}

  get handle(): string {
    return this.name.toLowerCase();
  }

  async register(): Promise<void> {
    const { page } = this;
    await page.getByRole('button', { name: 'New here?' }).click();
    await page.getByLabel('Name', { exact: true }).fill(this.name);
    await page.getByLabel('Handle').fill(this.handle);
    await page.getByLabel('E-mail').fill(`${this.handle}@example.org`);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Open an account' }).click();
    await expect(this.place('Chats')).toBeVisible();
    await this.isLive();
  }

  place(name: string): Locator {
    return this.page.getByRole('navigation').getByRole('link', { name });
  }

  async isLive(): Promise<void> {
    await expect(this.page.locator('[data-connection=live]')).toBeAttached({ timeout: 60_000 });
  }

  /** Finds somebody and asks them to be friends. */
  async ask(other: Person): Promise<void> {
    await this.look(other);
    await this.page.getByRole('button', { name: 'Ask to be friends' }).click();
    await expect(this.page.getByRole('button', { name: 'Take back' })).toBeVisible();
  }

  async accept(other: Person): Promise<void> {
    await this.place('People').click();
    await this.page.getByRole('link', { name: other.name }).click();
    await this.page.getByRole('button', { name: 'Accept' }).click();
    await expect(this.page.getByRole('button', { name: 'Message' })).toBeVisible();
  }

  async look(other: Person): Promise<void> {
    await this.place('People').click();
    await this.page.getByRole('searchbox').fill(other.handle);
    await this.page.getByRole('link', { name: other.name }).click();
  }

  /** Opens the conversation with a friend. */
  async open(other: Person): Promise<void> {
    await this.place('People').click();
    await this.page.getByRole('searchbox').clear();
    await this.page.getByRole('link', { name: other.name }).click();
    await this.page.getByRole('button', { name: 'Message' }).click();
    await expect(this.field).toBeVisible();
  }

  /** Opens the room of that name from the list. */
  async openRoom(name: string): Promise<void> {
    await this.place('Chats').click();
    await this.page.getByTestId('rooms').getByRole('link', { name }).click();
    await expect(this.field).toBeVisible();
  }

  get field(): Locator {
    return this.page.getByRole('textbox', { name: /^Write to/ });
  }

  get log(): Locator {
    return this.page.getByRole('log');
  }

  /** Every message on the screen, those on their way too. */
  get messages(): Locator {
    return this.log.getByRole('article');
  }

  message(body: string): Locator {
    return this.messages.filter({ hasText: body });
  }

  /** Says messages beside the page, as whoever is logged in there. */
  async sayBeside(messages: { key: string; body: string }[]): Promise<void> {
    const room = this.page.url().split('/').at(-1)!;
    await this.page.evaluate(
      async ({ room, messages }) => {
        const headers = { 'content-type': 'application/json' };
        const renewed = await fetch('/v1/auth/refresh', { method: 'POST', headers, body: '{"cookie":true}' });
        const { access_token } = await renewed.json();
        for (const message of messages) {
          const answer = await fetch(`/v1/chat/rooms/${room}/messages`, {
            method: 'POST',
            headers: { ...headers, authorization: `Bearer ${access_token}` },
            body: JSON.stringify(message),
          });
          if (!answer.ok) throw new Error(await answer.text());
        }
      },
      { room, messages },
    );
  }

  async say(body: string): Promise<void> {
    await this.field.fill(body);
    await this.field.press('Enter');
  }

  /** How many messages of theirs this browser keeps until they are sent. */
  async keptMessages(): Promise<number> {
    return this.page.evaluate(async () => {
      const name = (await indexedDB.databases()).find((it) => it.name?.startsWith('madang-'))?.name;
      if (name === undefined) return 0;
      return new Promise<number>((resolve, reject) => {
        const opening = indexedDB.open(name);
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const counting = opening.result.transaction('outbox').objectStore('outbox').count();
          counting.onsuccess = () => (opening.result.close(), resolve(counting.result));
        };
      });
    });
  }

  /** What stands on the screen, in its order. */
  async bodies(): Promise<string[]> {
    return this.log.locator('article p:not([role=alert])').allInnerTexts();
  }
}

interface Courtyard {
  server: Server;
  /** A private window of somebody's, with nothing open in it yet. */
  privateWindow: (name: string, options?: BrowserContextOptions) => Promise<BrowserContext>;
  /** Opens a window and an account for somebody. */
  join: (name: string, options?: BrowserContextOptions) => Promise<Person>;
  /** Two friends with their conversation open. */
  friends: () => Promise<[Person, Person]>;
}

export const test = base.extend<Courtyard>({
  // Playwright reads what a fixture needs from its pattern.
  server: async ({}, use) => {
    const settings = {
      MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP: 'acquainted',
      MADANG__CHAT__BODY_CHARS_MAX: '16000',
      MADANG__HTTP__DEV_OUTBOX: 'true',
    };
    const server = await Server.start(settings);
    await use(server);
    await server.remove();
  },
  privateWindow: async ({ browser }, use) => {
    const wrongs: string[] = [];
    const opened: BrowserContext[] = [];
    await use(async (name, options = {}) => {
      const context = await browser.newContext(options);
      opened.push(context);
      await context.addInitScript(() => {
        document.addEventListener('securitypolicyviolation', (it) => console.error(`CSP: ${it.violatedDirective} ${it.blockedURI}`));
      });
      // Of every page that is opened there.
      context.on('weberror', (it) => wrongs.push(`${name}: ${it.error().stack}`));
      context.on('console', (said) => said.text().includes('CSP') && wrongs.push(`${name}: ${said.text()}`));
      return context;
    });
    for (const context of opened) await context.close();
    expect(wrongs, 'errors and violations of the policy').toEqual([]);
  },
  join: async ({ privateWindow, server }, use) => {
    const joined: Person[] = [];
    await use(async (name, options) => {
      const [context, wire] = [await privateWindow(name, options), await Proxy.to(server.port)];
      const page = await context.newPage();
      await page.goto(wire.url);
      const person = new Person(name, context, page, wire);
      joined.push(person);
      await person.register();
      return person;
    });
    for (const { context, wire } of joined) {
      await context.close();
      await wire.close();
    }
  },
  friends: async ({ join }, use) => {
    await use(async () => {
      const [jisoo, minho] = [await join('Jisoo'), await join('Minho')];
      await jisoo.ask(minho);
      await minho.accept(jisoo);
      await minho.open(jisoo);
      await jisoo.open(minho);
      return [jisoo, minho];
    });
  },
});

/** Holds back the next answer to `url`, as the server has given it, until it is let through. */
export async function answeredLate(page: Page, url: string): Promise<{ isRead: Promise<void>; answer: () => Promise<void> }> {
  const [read, letThrough, taken] = [gate(), gate(), gate()];
  const hold = async (route: Route) => {
    const response = await route.fetch();
    read.open();
    await letThrough.isOpen;
    await route.fulfill({ response });
    taken.open();
  };
  await page.route(url, hold, { times: 1 });
  const answer = async () => {
    letThrough.open();
    await taken.isOpen;
    // What is done with it is done before the frame after the next.
    await page.evaluate(() => new Promise((shown) => requestAnimationFrame(() => requestAnimationFrame(shown))));
  };
  return { isRead: read.isOpen, answer };
}

function gate(): { open: () => void; isOpen: Promise<void> } {
  let open = () => {};
  const isOpen = new Promise<void>((resolve) => (open = resolve));
  return { open: () => open(), isOpen };
}

export { expect };
