/**
 * How a login is kept from one request to the next: with its refresh token in storage, or by the browser in a cookie that no
 * script reads.
 *
 * Invariant: nothing here asks the server. Whoever does learns here what to say, and keeps here what it answers.
 */

import type { Account, Login, LoginStorage } from './login.js';

/** What the server gives to whoever logs in, or renews a login. */
export interface Granted {
  user: Account;
  access_token: string;
  /** Null where the browser was given it. */
  refresh_token: string | null;
  /** Seconds. */
  expires_in: number;
}

/** The part of a login that requests are made with. */
export type Access = Omit<Login, 'refresh_token'>;

export interface Keeping {
  /** What is said where a login begins, beside who it is. */
  readonly wish: { cookie?: true };
  /** Whether the server alone can take away what is kept. */
  readonly isOutOfReach: boolean;
  /** Who is logged in, as far as this page knows. */
  access(): Access | undefined;
  /** What a login is renewed and ended with; `undefined` where there is none for sure. */
  proof(): object | undefined;
  keep(granted: Granted): void;
  forget(): void;
  /** Tells the other pages who is logged in now. */
  tellOthers(): void;
  /** Tells when another page has logged somebody in, or out; gives what ends that. */
  watch(listener: (isSomebody: boolean) => void): () => void;
}

/** Kept with its refresh token; who shares the storage has the login. */
export class StoredLogin implements Keeping {
  readonly wish = {};
  readonly isOutOfReach = false;

  constructor(private readonly storage: LoginStorage) {}

  access(): Access | undefined {
    return this.storage.load();
  }

  proof(): object | undefined {
    const login = this.storage.load();
    return login && { refresh_token: login.refresh_token };
  }

  keep(granted: Granted): void {
    // It is null for those who asked for a cookie.
    this.storage.save({ ...accessOf(granted), refresh_token: granted.refresh_token ?? '' });
  }

  forget(): void {
    this.storage.save(undefined);
  }

  tellOthers(): void {
    // They see it in the storage.
  }

  watch(listener: (isSomebody: boolean) => void): () => void {
    return this.storage.watch?.(() => listener(this.storage.load() !== undefined)) ?? (() => {});
  }
}

/** What pages of one origin tell each other: the id of whoever is logged in. Never a token. */
interface Told {
  user: string | null;
}

/** Kept by the browser. What a page has is an access token, in memory: the next page asks for another one. */
export class CookieLogin implements Keeping {
  readonly wish = { cookie: true } as const;
  readonly isOutOfReach = true;
  #access: Access | undefined;
  #pages: BroadcastChannel | undefined;

  /** `url` is where the server is. */
  constructor(url: string) {
    if (globalThis.BroadcastChannel) this.#pages = new BroadcastChannel(`madang.login ${url}`);
    // It keeps no process alive.
    (this.#pages as { unref?: () => void } | undefined)?.unref?.();
  }

  access(): Access | undefined {
    return this.#access;
  }

  proof(): object {
    // Whether there is a cookie, the server says.
    return { cookie: true };
  }

  keep(granted: Granted): void {
    this.#access = accessOf(granted);
  }

  forget(): void {
    this.#access = undefined;
  }

  tellOthers(): void {
    const told: Told = { user: this.#access?.user.id ?? null };
    this.#pages?.postMessage(told);
  }

  watch(listener: (isSomebody: boolean) => void): () => void {
    const pages = this.#pages;
    if (!pages) return () => {};
    pages.onmessage = (message) => {
      const { user } = message.data as Told;
      if (user !== null && user === this.#access?.user.id) return;
      // Of whoever is in the cookie now this page has no token yet. Until it has, it shows who was there before.
      this.#access = user !== null && this.#access ? { ...this.#access, expires_at: 0 } : undefined;
      listener(user !== null);
    };
    return () => {
      this.#pages = undefined;
      pages.close();
    };
  }
}

function accessOf({ user, access_token, expires_in }: Granted): Access {
  return { user, access_token, expires_at: Date.now() + expires_in * 1_000 };
}
