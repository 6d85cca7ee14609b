/**
 * Runs in a shared worker: one connection for all tabs of a user.
 *
 * Invariant: a tab is told each event once and in order, from where it said that it was; what it asks for that the worker has
 * forgotten is told as a gap. Tokens are the tabs': the worker asks for them and keeps none. What is to be sent is kept by the
 * tab that said it, and sent by the worker even when that tab has gone. Whoever logs in as somebody else ends what there was for
 * the one before.
 */

import type { Channel } from '../realtime/channel.js';
import { isPassing, RequestError } from '../realtime/errors.js';
import { connectRealtime, type Credentials, type Realtime, type RealtimeSettings } from '../realtime/index.js';
import type {
  ChannelName,
  Draft,
  DurableEvent,
  Frame,
  Presence,
  PresenceChoice,
  RoomChannel,
  Subscription,
  WireError,
} from '../realtime/protocol.js';
import { hostSurroundings, type Change, type Surroundings } from '../realtime/surroundings.js';
import type { FromTab, FromWorker, Port } from './wire.js';

/** Events of a channel that are remembered, for tabs that come later. */
const REMEMBERED_MAX = 200;
/** How long a tab may take to give a token; it may have been closed without a word. */
const TOKEN_MAX_MS = 10_000;
/** A tab says every few seconds that it is there, and every minute where nobody sees it. */
const SILENT_MAX_MS = 180_000;
const LOOK_EVERY_MS = 30_000;
/** So long one tab is asked alone. */
const TOKEN_TURN_MS = 2_000;
const REVOKED = 4202;
/** Nothing that anybody has to do something about: the tab comes back. */
const FORGOTTEN = 4000;
/** Users whom one connection watches. */
const WATCHED_MAX = 100;

export type HostSettings = Omit<RealtimeSettings, 'credentials' | 'outbox'>;

/** A tab, with what it follows and whom it watches. */
interface Tab {
  port: Port;
  heardAt: number;
  isVisible: boolean;
  followed: Set<ChannelName>;
  watched: string[];
}

/** Serves every tab that connects to this worker. */
export function serveTabs(settings: HostSettings): void {
  const host = new TabHost(settings);
  (globalThis as { onconnect?: (event: MessageEvent) => void }).onconnect = (event) => {
    for (const port of event.ports) host.add(port);
  };
}

export class TabHost {
  readonly #tabs = new Set<Tab>();
  #house: House | undefined;
  #lookedAt = Date.now();

  constructor(private readonly settings: HostSettings) {
    const looking = setInterval(() => this.#look(), LOOK_EVERY_MS);
    // It keeps no process alive.
    (looking as { unref?: () => void }).unref?.();
  }

  add(port: Port): void {
    const tab: Tab = { port, heardAt: Date.now(), isVisible: true, followed: new Set(), watched: [] };
    port.onmessage = (message) => {
      tab.heardAt = Date.now();
      void this.#hear(tab, message.data as FromTab);
    };
    port.onclose = () => this.#drop(tab);
    port.start?.();
  }

  /** Tabs that are frozen or have crashed say nothing; those that come back say hello again. */
  #look(): void {
    const isLate = Date.now() - this.#lookedAt > 2 * LOOK_EVERY_MS;
    this.#lookedAt = Date.now();
    // The machine has slept: nobody could say anything.
    if (isLate) for (const tab of this.#tabs) tab.heardAt = this.#lookedAt;
    for (const tab of this.#tabs) if (Date.now() - tab.heardAt > SILENT_MAX_MS) this.#drop(tab);
  }

  #drop(tab: Tab): void {
    if (!this.#tabs.delete(tab)) return;
    this.#house?.leave(tab);
    this.#house?.watchNobody(tab);
    if (this.#tabs.size === 0) this.#moveOut();
  }

  async #hear(tab: Tab, said: FromTab): Promise<void> {
    if ('hello' in said) {
      const { user, subscribe, presence, isVisible } = said.hello;
      const house = this.#house?.user === user ? this.#house : this.#moveIn(user);
      this.#tabs.add(tab);
      this.#seen(tab, isVisible);
      // Before anything is begun that would show its user as another tab did. What cannot show it now does later.
      if (presence) house.realtime.setPresence(presence).catch(() => {});
      // Begun when there is somebody to ask for a token.
      house.realtime.start();
      tell(tab, { id: said.id, ok: null });
      tell(tab, { state: house.realtime.state });
      for (const subscription of subscribe) house.follow(tab, subscription);
    } else if ('op' in said) {
      await this.#ask(tab, said.id, said.op, said.fields);
    } else if ('asked' in said) {
      this.#house?.tokens.answer(said);
    } else if ('isVisible' in said) {
      this.#seen(tab, said.isVisible);
    } else {
      this.#drop(tab);
    }
  }

  async #ask(tab: Tab, id: number, op: string, fields: object): Promise<void> {
    try {
      const house = this.#house;
      if (!house || !this.#tabs.has(tab)) return this.#forgotten(tab, id);
      tell(tab, { id, ok: await house.do(tab, op, fields) });
    } catch (error) {
      const { code, message } = error as RequestError;
      // What passes is asked again by the tab, of this worker or the next.
      const isKnown = error instanceof RequestError && !isPassing(error);
      tell(tab, { id, error: isKnown ? { code, message } : null });
    }
  }

  /** It has been silent for long: it says hello again, and asks then. */
  #forgotten(tab: Tab, id: number): void {
    tell(tab, { id, error: null });
    tell(tab, { closed: FORGOTTEN });
  }

  #seen(tab: Tab, isVisible: boolean): void {
    tab.isVisible = isVisible;
    this.#house?.looks.changed(isVisible ? 'visible' : 'hidden');
  }

  #moveIn(user: string): House {
    for (const tab of this.#tabs) tell(tab, { closed: REVOKED });
    this.#tabs.clear();
    this.#moveOut();
    const tabs = this.#tabs;
    return (this.#house = new House(user, this.settings, () => [...tabs]));
  }

  #moveOut(): void {
    this.#house?.realtime.stop();
    this.#house = undefined;
  }
}

/** The fields of every op; each has some of them. */
interface Given {
  channel: RoomChannel;
  channels: Subscription[];
  /** Of channels. */
  names: ChannelName[];
  seq: number;
  emoji: string;
  key: string;
  data: Draft & { body: string };
  status: PresenceChoice;
  users: string[];
}

/** What the worker has for one user. */
class House {
  readonly realtime: Realtime;
  readonly tokens: Tokens;
  readonly looks: Looks;
  readonly #logs = new Map<ChannelName, Log>();
  /** The last time that it was said who is watched: the next one waits for it, and says it anew. */
  #watching: Promise<unknown> = Promise.resolve();

  constructor(
    readonly user: string,
    settings: HostSettings,
    private readonly tabs: () => Tab[],
  ) {
    this.tokens = new Tokens(tabs);
    this.looks = new Looks(settings.surroundings ?? hostSurroundings(), tabs);
    this.realtime = connectRealtime({ ...settings, surroundings: this.looks, credentials: this.tokens });
    // The tab that said it keeps it, with the reason.
    this.realtime.outbox.on('refused', ({ key }) => void this.realtime.outbox.discard(key));
    this.realtime.on('state', (state) => this.#tellAll({ state }));
    this.realtime.on('presence', (presences) => this.#tellPresences(presences));
  }

  follow(tab: Tab, subscription: Subscription): void {
    const { channel: name, ...begin } = subscription;
    tab.followed.add(name);
    let log = this.#logs.get(name);
    if (!log || log.channel.isEnded) {
      const channel = this.realtime.channel(name, begin);
      const pass = (frame: Frame) => {
        for (const other of this.tabs()) if (other.followed.has(name)) tell(other, { frame });
      };
      this.#logs.set(name, (log = new Log(channel, pass)));
    }
    for (const frame of log.since(subscription)) tell(tab, { frame });
  }

  leave(tab: Tab, names: ChannelName[] = [...tab.followed]): void {
    for (const name of names) {
      tab.followed.delete(name);
      if (this.tabs().some((other) => other.followed.has(name))) continue;
      this.#logs.get(name)?.channel.leave();
      this.#logs.delete(name);
    }
  }

  /** Watches for a tab whom it names, and nobody of whom it named before. */
  async watch(tab: Tab, users: string[]): Promise<Presence[]> {
    const before = tab.watched;
    tab.watched = users;
    try {
      const presences = await this.#watchAll(users);
      return presences.filter((presence) => users.includes(presence.user_id));
    } catch (error) {
      if (tab.watched === users) tab.watched = before;
      throw error;
    }
  }

  watchNobody(tab: Tab): void {
    if (tab.watched.length === 0 || this.tabs().length === 0) return;
    tab.watched = [];
    // The next one says it anew, with the next link at the latest.
    this.#watchAll().catch(() => {});
  }

  /** Watches whom any tab watches, as many as a connection may: the server knows one list. `first` are never left out. */
  #watchAll(first: string[] = []): Promise<Presence[]> {
    const turn = this.#watching.then(() => {
      const users = [...new Set([...first, ...this.tabs().flatMap((tab) => tab.watched)])];
      return this.realtime.watchPresence(users.slice(0, Math.max(first.length, WATCHED_MAX)));
    });
    this.#watching = turn.catch(() => {});
    return turn;
  }

  #tellPresences(presences: Presence[]): void {
    for (const tab of this.tabs()) {
      const changes = presences.filter((presence) => tab.watched.includes(presence.user_id));
      if (changes.length > 0) tell(tab, { frame: { event: 'presence_changed', data: { changes } } });
    }
  }

  async do(tab: Tab, op: string, fields: object): Promise<unknown> {
    const { realtime } = this;
    const of = fields as Given;
    switch (op) {
      case 'subscribe':
        for (const subscription of of.channels) this.follow(tab, subscription);
        return {};
      case 'unsubscribe':
        this.leave(tab, of.names);
        return {};
      case 'send':
        return realtime.send(of.channel, of.data, of.key);
      case 'edit':
        return realtime.edit(of.channel, of.seq, of.data.body);
      case 'delete':
        return realtime.delete(of.channel, of.seq);
      case 'react':
        return realtime.react(of.channel, of.seq, of.emoji);
      case 'unreact':
        return realtime.unreact(of.channel, of.seq, of.emoji);
      case 'read':
        return realtime.read(of.channel, of.seq);
      case 'typing':
        realtime.typing(of.channel);
        return {};
      case 'history':
        return { items: await realtime.history(of.channel, fields) };
      case 'set_presence':
        await realtime.setPresence(of.status);
        return { status: of.status };
      case 'get_presence':
        return { items: await this.watch(tab, of.users) };
      case 'alive':
        return {};
      case 'ping':
        realtime.retryNow();
        return {};
      default:
        throw new RequestError('unknown_op', op);
    }
  }

  #tellAll(said: FromWorker): void {
    for (const tab of this.tabs()) tell(tab, said);
  }
}

/** A channel, and what was heard of it lately. */
class Log {
  readonly #events: DurableEvent[] = [];

  constructor(
    readonly channel: Channel,
    pass: (frame: Frame) => void,
  ) {
    const name = channel.name;
    channel.on('event', (event) => {
      this.#events.push(event);
      if (this.#events.length > REMEMBERED_MAX) this.#events.shift();
      pass(event);
    });
    channel.on('ephemeral', pass);
    channel.on('gap', ({ have, head }) => {
      // What is remembered ends here: nobody is told across it.
      this.#events.length = 0;
      pass({ event: 'gap', channel: name, have, first: 1, head });
    });
    channel.on('live', (isLive) => {
      pass(isLive ? { event: 'live', channel: name, seq: channel.seq ?? 0 } : { event: 'lag', channel: name });
    });
    channel.on('ended', (reason) => pass({ event: 'unsubscribed', channel: name, reason }));
  }

  /** What somebody is told who comes now and has everything up to a position. */
  since({ channel, after, epoch }: Subscription): Frame[] {
    const { seq: head, epoch: ours } = this.channel;
    const frames: Frame[] = [];
    const isOther = epoch !== undefined && ours !== undefined && epoch !== ours;
    // Whoever has more than was heard here has read it: what comes next they know, and drop.
    if (after !== undefined && head !== undefined && (after < head || isOther)) {
      const first = this.#events[0]?.seq;
      if (!isOther && first !== undefined && first <= after + 1) {
        frames.push(...this.#events.filter((event) => event.seq > after));
      } else {
        frames.push({ event: 'gap', channel, have: after, first: 1, head });
      }
    }
    if (this.channel.isLive && head !== undefined) frames.push({ event: 'live', channel, seq: head });
    return frames;
  }
}

/** Somebody looks as long as any tab is seen. */
class Looks implements Surroundings {
  readonly #listeners = new Set<(change: Change) => void>();

  constructor(
    private readonly machine: Surroundings,
    private readonly tabs: () => Tab[],
  ) {}

  isOnline(): boolean {
    return this.machine.isOnline();
  }

  isVisible(): boolean {
    return this.tabs().some((tab) => tab.isVisible);
  }

  watch(listener: (change: Change) => void): () => void {
    const unwatch = this.machine.watch(listener);
    this.#listeners.add(listener);
    return () => {
      unwatch();
      this.#listeners.delete(listener);
    };
  }

  /** Of a tab. */
  changed(change: 'visible' | 'hidden'): void {
    if (change === 'hidden' && this.isVisible()) return;
    for (const listener of [...this.#listeners]) listener(change);
  }
}

/** Tokens, from one tab after the other, those first that somebody looks at: one that is frozen does not answer. */
class Tokens implements Credentials {
  readonly #asked = new Map<number, Asked>();
  #next = 1;

  constructor(private readonly tabs: () => Tab[]) {}

  token(): Promise<string | undefined> {
    return this.#ask('token');
  }

  renew(): Promise<string | undefined> {
    return this.#ask('renew');
  }

  answer(said: { asked: number } & ({ token: string | undefined } | { tokenError: WireError | null })): void {
    const waiting = this.#asked.get(said.asked);
    if ('token' in said) waiting?.resolve(said.token);
    else if (said.tokenError) waiting?.reject(RequestError.of(said.tokenError));
    else waiting?.next();
  }

  #ask(ask: 'token' | 'renew'): Promise<string | undefined> {
    const asked = this.#next++;
    const tabs = this.tabs().sort((a, b) => Number(b.isVisible) - Number(a.isVisible));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const answered = new Promise<string | undefined>((resolve, reject) => {
      const next = () => {
        clearTimeout(timer);
        const tab = tabs.shift();
        if (!tab) return reject(new Error('nobody answers'));
        tell(tab, { ask, asked });
        timer = setTimeout(next, tabs.length > 0 ? TOKEN_TURN_MS : TOKEN_MAX_MS);
      };
      this.#asked.set(asked, { resolve, reject, next });
      next();
    });
    return answered.finally(() => {
      clearTimeout(timer);
      this.#asked.delete(asked);
    });
  }
}

/** Who waits for a token; `next` asks the tab that comes next. */
interface Asked {
  resolve: (token: string | undefined) => void;
  reject: (why: Error) => void;
  next: () => void;
}

function tell(tab: Tab, said: FromWorker): void {
  tab.port.postMessage(said);
}
