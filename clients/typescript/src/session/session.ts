/**
 * A login: its tokens, renewed in time. Whoever asks gets a token that is good for a while.
 *
 * Invariant: of all pages that share a login one asks the server at a time, and where they share its tokens the others take
 * what it got: a refresh token is spent once. Nobody is given the token of another user than listeners were told of. What ends
 * a login is an answer that says so, never a network that is away.
 */

import { Emitter } from '../realtime/emitter.js';
import { isPassing, RequestError } from '../realtime/errors.js';
import type { Credentials } from '../realtime/realtime.js';
import { CookieLogin, StoredLogin, type Granted, type Keeping } from './keeping.js';
import { MemoryLogin, type Account, type LoginStorage } from './login.js';

/** A token that ends so soon is renewed before it is used. */
const SPARE_MS = 30_000;
/** How long the other pages are kept waiting for a server that does not answer. */
const ANSWER_MAX_MS = 30_000;

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
  /** Where the login is kept with its refresh token; without it, it goes with the page. */
  storage?: LoginStorage;
  /**
   * Has the browser keep the refresh token instead, in a cookie that no script reads: for pages of the server's own origin.
   * Who is logged in is known after {@link Session.resume}.
   */
  cookie?: boolean;
  fetch?: typeof fetch;
}

export interface SessionEvents {
  /** Somebody has logged in, or nobody is any more; here or in another tab. */
  changed: Account | undefined;
}

export class Session extends Emitter<SessionEvents> implements Credentials {
  readonly #url: string;
  readonly #keeping: Keeping;
  readonly #http: typeof fetch;
  readonly #unwatch: () => void;
  /** Whom listeners know of. */
  #told: string | undefined;
  /** How often a login has begun or ended: what was asked for in one that is over does not count. */
  #changes = 0;
  /** Nobody is logged in here any more, whatever the browser still has. */
  #isOver = false;
  #renewing: Promise<string> | undefined;
  /** The last thing that is asked for, where pages cannot take turns. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(settings: SessionSettings) {
    super();
    this.#url = settings.url.replace(/\/$/, '');
    this.#keeping = settings.cookie ? new CookieLogin(this.#url) : new StoredLogin(settings.storage ?? new MemoryLogin());
    this.#http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
    this.#told = this.user?.id;
    this.#unwatch = this.#keeping.watch((isSomebody) => this.#lookAgain(isSomebody));
  }

  get user(): Account | undefined {
    return this.#keeping.access()?.user;
  }

  /** Opens an account and logs it in. */
  async register(account: NewAccount): Promise<Account> {
    return this.#begin('/v1/auth/register', account);
  }

  /** Logs in with a handle or an e-mail address. */
  async login(identifier: string, password: string): Promise<Account> {
    return this.#begin('/v1/auth/login', { identifier, password });
  }

  /**
   * Goes on with the login that the page before had: whose it is, or `undefined` where nobody is logged in. Rejects when it has
   * to ask and nobody answers, which says nothing about the login.
   */
  async resume(): Promise<Account | undefined> {
    if (this.user) return this.user;
    this.#isOver = false;
    try {
      await this.renew();
    } catch (error) {
      if (!isOver(error)) throw error;
    }
    return this.user;
  }

  /**
   * Ends the login, here in any case and at the server if it answers. With a cookie it rejects if it does not: the browser
   * still has it, and the next page would be logged in.
   */
  async logout(): Promise<void> {
    const proof = this.#keeping.proof();
    this.#forget();
    this.#keeping.tellOthers();
    if (!proof) return;
    try {
      await this.#inTurn(() => this.#post('/v1/auth/logout', proof));
    } catch (error) {
      const isAnswered = error instanceof RequestError && !isPassing(error);
      if (this.#keeping.isOutOfReach && !isAnswered) throw error;
    }
  }

  /** Has a token mailed with which a new password is set, if the address has an account; nobody is told whether it has. */
  async requestPasswordReset(email: string): Promise<void> {
    await this.#post('/v1/auth/reset-password', { email });
  }

  /** Sets a new password with the token that was mailed. Every login of the account ends. */
  async resetPassword(token: string, newPassword: string): Promise<void> {
    await this.#post('/v1/auth/reset-password/confirm', { token, new_password: newPassword });
  }

  /** Confirms an e-mail address with the token that was mailed to it. */
  async verifyEmail(token: string): Promise<void> {
    await this.#post('/v1/auth/verify-email', { token });
  }

  async token(): Promise<string> {
    this.#notice();
    return this.#fresh() ?? this.renew();
  }

  async renew(): Promise<string> {
    this.#proof();
    return (this.#renewing ??= this.#renewInTurn().finally(() => (this.#renewing = undefined)));
  }

  /** Hears of other tabs no more. */
  close(): void {
    this.#unwatch();
  }

  /** With the other pages kept waiting; who waited takes what another got. */
  #renewInTurn(): Promise<string> {
    const before = this.#keeping.access()?.access_token;
    return this.#inTurn(async () => {
      const now = this.#keeping.access();
      if (!now || now.access_token === before) return this.#renew();
      this.#notice();
      return now.access_token;
    });
  }

  async #renew(): Promise<string> {
    const changes = this.#changes;
    let granted: Granted | undefined;
    try {
      granted = await this.#post<Granted>('/v1/auth/refresh', this.#proof());
    } catch (error) {
      if (changes === this.#changes) {
        if (isOver(error)) this.#expire();
        throw error;
      }
    }
    if (granted && changes === this.#changes) return this.#keep(granted);
    // Somebody has logged in or out meanwhile: what they did counts.
    return this.#fresh() ?? this.#renew();
  }

  async #begin(path: string, account: object): Promise<Account> {
    // In turn: an answer to whoever was here before would take the cookie away again.
    return this.#inTurn(async () => {
      const granted = await this.#post<Granted>(path, { ...account, ...this.#keeping.wish });
      this.#changes += 1;
      this.#told = undefined;
      this.#keep(granted);
      this.#keeping.tellOthers();
      return granted.user;
    });
  }

  /** Another page has logged somebody in, or out. */
  #lookAgain(isSomebody: boolean): void {
    this.#changes += 1;
    this.#isOver = !isSomebody;
    if (!isSomebody) this.#notice();
    // Whoever asks next tries again.
    else this.token().catch(() => {});
  }

  #keep(granted: Granted): string {
    this.#keeping.keep(granted);
    this.#isOver = false;
    this.#notice();
    return granted.access_token;
  }

  /** The server knows the login no more. */
  #expire(): void {
    const wasSomebody = this.user !== undefined;
    this.#forget();
    // A page that never knew of a login has nothing to tell.
    if (wasSomebody) this.#keeping.tellOthers();
  }

  #forget(): void {
    this.#changes += 1;
    this.#isOver = true;
    this.#keeping.forget();
    this.#notice();
  }

  /** Tells listeners who is logged in, if they think otherwise. */
  #notice(): void {
    const { user } = this;
    if (user?.id === this.#told) return;
    this.#told = user?.id;
    this.emit('changed', user);
  }

  /** The access token, if it is good for a while. */
  #fresh(): string | undefined {
    const access = this.#keeping.access();
    return access && access.expires_at - SPARE_MS > Date.now() ? access.access_token : undefined;
  }

  #proof(): object {
    const proof = this.#keeping.proof();
    if (proof && !(this.#isOver && !this.user)) return proof;
    throw new RequestError('unauthenticated', 'nobody is logged in');
  }

  /** One request that changes the login at a time, of all pages where the browser lets them take turns. */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const locks = globalThis.navigator?.locks;
    if (locks) return locks.request(`madang.login ${this.#url}`, act) as Promise<T>;
    const turn = this.#last.then(act);
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #post<T>(path: string, body: object): Promise<T> {
    const answer = await this.#http(`${this.#url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MAX_MS),
    });
    if (!answer.ok) throw await RequestError.ofAnswer(answer);
    const text = await answer.text();
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }
}

/** Whether an answer says that there is no login. */
function isOver(error: unknown): boolean {
  return error instanceof RequestError && (error.code === 'invalid_refresh_token' || error.code === 'unauthenticated');
}
