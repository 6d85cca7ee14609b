/**
 * A login: its tokens, kept and renewed. Whoever asks gets a token that is good for a while.
 *
 * Invariant: of all tabs that share a store one renews at a time, and the others take what it got: a refresh token is spent
 * once. What ends a login is an answer that says so, never a network that is away.
 */

import { Emitter } from '../realtime/emitter.js';
import { RequestError } from '../realtime/errors.js';
import type { Credentials } from '../realtime/realtime.js';

/** A token that ends so soon is renewed before it is used. */
const SPARE_MS = 30_000;

export interface Account {
  id: string;
  handle: string;
  display_name: string;
  [more: string]: unknown;
}

export interface Login {
  user: Account;
  access_token: string;
  refresh_token: string;
  /** When the access token ends, epoch milliseconds. */
  expires_at: number;
}

/** Where a login is kept. */
export interface LoginStorage {
  load(): Login | undefined;
  save(login: Login | undefined): void;
}

/** Forgets with the page. */
export class MemoryLogin implements LoginStorage {
  #login: Login | undefined;

  load(): Login | undefined {
    return this.#login;
  }

  save(login: Login | undefined): void {
    this.#login = login;
  }
}

/** Keeps it in `localStorage` or `sessionStorage`, where any script of the page reads it. */
export class WebStorageLogin implements LoginStorage {
  constructor(
    private readonly storage: Storage,
    private readonly name = 'madang.login',
  ) {}

  load(): Login | undefined {
    const kept = this.storage.getItem(this.name);
    return kept === null ? undefined : (JSON.parse(kept) as Login);
  }

  save(login: Login | undefined): void {
    if (login) this.storage.setItem(this.name, JSON.stringify(login));
    else this.storage.removeItem(this.name);
  }
}

interface Granted {
  user: Account;
  access_token: string;
  refresh_token: string;
  /** Seconds. */
  expires_in: number;
}

export interface NewAccount {
  handle: string;
  email: string;
  password: string;
  display_name: string;
  locale?: string;
  time_zone?: string;
}

export interface SessionSettings {
  /** Where the server is, such as `https://chat.example`. */
  url: string;
  storage?: LoginStorage;
  fetch?: typeof fetch;
}

export interface SessionEvents {
  /** Somebody has logged in, or nobody is any more. */
  changed: Account | undefined;
}

export class Session extends Emitter<SessionEvents> implements Credentials {
  readonly #url: string;
  readonly #storage: LoginStorage;
  readonly #http: typeof fetch;
  #renewing: Promise<string> | undefined;

  constructor(settings: SessionSettings) {
    super();
    this.#url = settings.url.replace(/\/$/, '');
    this.#storage = settings.storage ?? new MemoryLogin();
    this.#http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
  }

  get user(): Account | undefined {
    return this.#storage.load()?.user;
  }

  /** Opens an account and logs it in. */
  async register(account: NewAccount): Promise<Account> {
    return this.#begin('/v1/auth/register', account);
  }

  /** Logs in with a handle or an e-mail address. */
  async login(identifier: string, password: string): Promise<Account> {
    return this.#begin('/v1/auth/login', { identifier, password });
  }

  /** Ends the login, here in any case and at the server if it answers. */
  async logout(): Promise<void> {
    const login = this.#storage.load();
    this.#forget();
    if (login) await this.#post('/v1/auth/logout', { refresh_token: login.refresh_token }).catch(() => {});
  }

  async token(): Promise<string> {
    const login = this.#storage.load();
    if (!login) throw new RequestError('unauthenticated', 'nobody is logged in');
    return login.expires_at - SPARE_MS > Date.now() ? login.access_token : this.renew();
  }

  renew(): Promise<string> {
    const renewing = this.#renewing ?? this.#alone(() => this.#renew()).finally(() => (this.#renewing = undefined));
    return (this.#renewing = renewing);
  }

  async #renew(): Promise<string> {
    const login = this.#storage.load();
    if (!login) throw new RequestError('unauthenticated', 'nobody is logged in');
    try {
      const granted = await this.#post<Granted>('/v1/auth/refresh', { refresh_token: login.refresh_token });
      return this.#keep(granted).access_token;
    } catch (error) {
      const isOver = error instanceof RequestError && error.code === 'invalid_refresh_token';
      if (isOver) this.#forget();
      throw error;
    }
  }

  /** With the other tabs kept waiting; who waited takes what another got. */
  async #alone(renew: () => Promise<string>): Promise<string> {
    const locks = globalThis.navigator?.locks;
    const before = this.#storage.load()?.refresh_token;
    if (!locks) return renew();
    return locks.request(`madang.renew ${this.#url}`, async () => {
      const login = this.#storage.load();
      return login && login.refresh_token !== before ? login.access_token : renew();
    });
  }

  async #begin(path: string, body: object): Promise<Account> {
    const { user } = this.#keep(await this.#post<Granted>(path, body));
    this.emit('changed', user);
    return user;
  }

  #keep(granted: Granted): Login {
    const { user, access_token, refresh_token, expires_in } = granted;
    const login = { user, access_token, refresh_token, expires_at: Date.now() + expires_in * 1_000 };
    this.#storage.save(login);
    return login;
  }

  #forget(): void {
    this.#storage.save(undefined);
    this.emit('changed', undefined);
  }

  async #post<T>(path: string, body: object): Promise<T> {
    const answer = await this.#http(`${this.#url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw await RequestError.ofAnswer(answer);
    return (answer.status === 204 ? undefined : await answer.json()) as T;
  }
}
