/** What the tests of a file share: a server, and the people, proxies and clients that are stopped with it. */

import { afterAll, beforeAll } from 'vitest';

import type { Realtime, RoomChannel } from '../src/index.js';
import { Ears, Person, until } from './people.js';
import { Proxy } from './proxy.js';
import { Server } from './server.js';

export interface Pair {
  ann: Person;
  ben: Person;
  room: RoomChannel;
  /** On the way of ann, and of ben. */
  proxies: [Proxy, Proxy];
  a: Realtime;
  b: Realtime;
  earsA: Ears;
  earsB: Ears;
}

export class Fixture {
  readonly #running: Realtime[] = [];
  readonly #proxies: Proxy[] = [];
  #server: Server | undefined;

  /** Made where the tests of a file begin; `settings` are the server's. */
  constructor(settings: Record<string, string> = {}) {
    beforeAll(async () => {
      this.#server = await Server.start(settings);
    });
    afterAll(async () => {
      for (const realtime of this.#running) realtime.stop();
      for (const proxy of this.#proxies) await proxy.close();
      await this.#server?.remove();
    });
  }

  get server(): Server {
    if (!this.#server) throw new Error('the tests have not begun');
    return this.#server;
  }

  /** Gives what it is given, and stops it in the end. */
  stopped(realtime: Realtime): Realtime {
    this.#running.push(realtime);
    return realtime;
  }

  person(): Promise<Person> {
    return Person.register(this.server.url);
  }

  people(): Promise<[Person, Person]> {
    return Promise.all([this.person(), this.person()]);
  }

  /** A way to the server. */
  async proxy(): Promise<Proxy> {
    const proxy = await Proxy.to(this.server.port);
    this.#proxies.push(proxy);
    return proxy;
  }

  /** Two people and their room, each connected by way of a proxy. */
  async pair(): Promise<Pair> {
    const [ann, ben] = await this.people();
    const room = await ann.roomWith(ben);
    const proxies: [Proxy, Proxy] = [await this.proxy(), await this.proxy()];
    const a = this.stopped(ann.realtime({ url: proxies[0].url }));
    const b = this.stopped(ben.realtime({ url: proxies[1].url }));
    const [earsA, earsB] = [new Ears(a.channel(room, { after: 0 })), new Ears(b.channel(room, { after: 0 }))];
    a.start();
    b.start();
    await until(() => a.state.name === 'live' && b.state.name === 'live', 'both are live');
    return { ann, ben, room, proxies, a, b, earsA, earsB };
  }
}

/** So many bodies of messages, each another one. */
export const numbered = (count: number) => Array.from({ length: count }, (_, n) => `message ${n}`);
