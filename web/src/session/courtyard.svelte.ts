/**
 * Who is here, and all that lives as long as their login: one connection, their rooms, the people they know, their inbox.
 *
 * Invariant: nothing of one login is ever seen by the next; what a {@link Courtyard} holds ends with it.
 */

import { createRest, type Account, type ConnectionState, type Realtime, type Rest, type Session } from '@madang/client';
import { getContext, setContext } from 'svelte';

import { Inbox } from '../bell/inbox.svelte';
import { Friends } from '../people/friends.svelte';
import { People } from '../people/people.svelte';
import { Presences } from '../people/presences.svelte';
import { Rooms } from '../rooms/rooms.svelte';
import { keptPresence } from '../settings/presence';
import type { Payments } from '../wallet/payments.svelte';
import { connect } from './connection';

/** Where no connection comes about for so long, what there is is read without one. */
const ALONE_MS = 2_000;

export class Courtyard {
  readonly rest: Rest;
  readonly realtime: Realtime;
  readonly people: People;
  readonly presences: Presences;
  readonly friends: Friends;
  readonly rooms: Rooms;
  readonly inbox: Inbox;
  /** Once the wallet was opened. */
  payments: Payments | undefined;
  me = $state<Account>() as Account;
  connection = $state<ConnectionState>({ name: 'idle' });
  #waiting: ReturnType<typeof setTimeout> | undefined;

  constructor(session: Session, me: Account) {
    this.me = me;
    this.rest = createRest({ url: location.origin, credentials: session });
    this.realtime = connect(session, me);
    this.people = new People(this.rest, me);
    this.presences = new Presences(this.realtime);
    this.friends = new Friends(this.rest, this.people, this.presences);
    this.rooms = new Rooms(this);
    this.inbox = new Inbox(this.rest);
    this.realtime.on('state', (state) => {
      // Another window may have chosen something else since.
      if (state.name === 'connecting') this.realtime.setPresence(keptPresence(me.id)).catch(() => {});
      this.connection = state;
    });
    const own = this.realtime.channel('me');
    own.on('event', (event) => {
      this.rooms.hearOwn(event);
      this.friends.hearOwn(event);
      this.inbox.hearOwn(event);
      this.payments?.hearOwn(event);
    });
    // What was missed is not told again: everything is read anew.
    own.on('gap', () => this.#read());
    // Nothing may fall between what is read and what is told: what is told from now on is read from then on.
    const first = own.on('live', () => {
      first();
      this.#read();
    });
  }

  /** Somebody looks at this window again. */
  readonly #seen = () => document.hidden || this.rooms.lookAgain();

  start(): void {
    document.addEventListener('visibilitychange', this.#seen);
    this.realtime.start();
    this.#waiting = setTimeout(() => this.#read(), ALONE_MS);
  }

  stop(): void {
    clearTimeout(this.#waiting);
    document.removeEventListener('visibilitychange', this.#seen);
    this.rooms.stop();
    this.people.stop();
    this.realtime.stop();
  }

  #read(): void {
    clearTimeout(this.#waiting);
    void this.rooms.load();
    void this.friends.load();
    void this.inbox.load();
  }
}

const KEY = Symbol('courtyard');

export const provideCourtyard = (courtyard: Courtyard) => setContext(KEY, courtyard);
export const useCourtyard = () => getContext<Courtyard>(KEY);
