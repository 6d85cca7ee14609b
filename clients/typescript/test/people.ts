/** People who use a client against a real server. */

import WebSocket from 'ws';

import {
  connectRealtime,
  createRest,
  Session,
  type Channel,
  type DurableEvent,
  type Realtime,
  type RealtimeSettings,
  type Rest,
  type RoomChannel,
} from '../src/index.js';

let count = 0;

export class Person {
  readonly session: Session;
  readonly rest: Rest;

  private constructor(
    readonly url: string,
    readonly handle: string,
  ) {
    this.session = new Session({ url });
    this.rest = createRest({ url, credentials: this.session });
  }

  static async register(url: string): Promise<Person> {
    count += 1;
    const handle = `person${process.pid}x${count}`;
    const person = new Person(url, handle);
    await person.session.register({
      handle,
      email: `${handle}@example.org`,
      password: 'a long walk home',
      display_name: handle,
    });
    return person;
  }

  get id(): string {
    return this.session.user?.id ?? '';
  }

  /** A connection that is not begun, by way of `url`. */
  realtime(more: Partial<RealtimeSettings> = {}): Realtime {
    return connectRealtime({
      url: this.url,
      credentials: this.session,
      WebSocket: WebSocket as never,
      ...more,
    });
  }

  async roomWith(other: Person): Promise<RoomChannel> {
    const { data } = await this.rest.POST('/v1/chat/rooms', {
      body: { kind: 'direct', user_id: other.id },
    });
    return `room:${data!.id}`;
  }
}

/** Everything that a listener of a channel was told. */
export class Ears {
  readonly events: DurableEvent[] = [];

  constructor(channel: Channel) {
    channel.on('event', (event) => this.events.push(event));
  }

  get bodies(): string[] {
    return this.events.flatMap((it) => (it.event === 'message_sent' ? [it.data.body] : []));
  }
}

export async function until(is: () => boolean | Promise<boolean>, what: string, maxMs = 20_000): Promise<void> {
  const end = Date.now() + maxMs;
  while (!(await is())) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((tick) => setTimeout(tick, 10));
  }
}
