/** Names and pictures by id. Whoever is asked for and not known is looked up once; the name shows when it comes. */

import { isPassing, type Account, type components, type RequestError, type Rest } from '@madang/client';
import { SvelteMap } from 'svelte/reactivity';

export type Person = components['schemas']['PersonView'];

/** So many are looked up at a time. */
const LOOKUPS_MAX = 4;
const RETRY_MS = 1_000;

export class People {
  readonly #known = new SvelteMap<string, Person | undefined>();
  readonly #asked = new Set<string>();
  /** Whose turn has not come yet. */
  #waiting: string[] = [];
  #lookups = 0;
  #isOver = false;

  constructor(
    private readonly rest: Rest,
    me: Account,
  ) {
    this.#known.set(me.id, me as unknown as Person);
  }

  learn(person: Person): void {
    this.#asked.add(person.id);
    this.#known.set(person.id, person);
  }

  /** Without asking for them. */
  peek(id: string): Person | undefined {
    return this.#known.get(id);
  }

  /** `undefined` until they are known, and where they are gone. */
  of(id: string): Person | undefined {
    if (!this.#asked.has(id) && !this.#known.has(id)) {
      this.#asked.add(id);
      this.#waiting.push(id);
      void this.#lookUp();
    }
    return this.#known.get(id);
  }

  /** Whether the server says that there is no such person, or none who may be seen. */
  isGone(id: string): boolean {
    return this.#known.has(id) && this.#known.get(id) === undefined;
  }

  stop(): void {
    this.#isOver = true;
  }

  async #lookUp(): Promise<void> {
    if (this.#lookups >= LOOKUPS_MAX) return;
    this.#lookups += 1;
    for (let id; (id = this.#waiting.shift()) && !this.#isOver; ) {
      // They may have come with something else.
      if (!this.#known.has(id)) await this.#find(id);
    }
    this.#lookups -= 1;
  }

  async #find(id: string): Promise<void> {
    try {
      const { data } = await this.rest.GET('/v1/users/{id}', { params: { path: { id } } });
      if (data) this.#known.set(id, data);
    } catch (error) {
      if ((error as { code?: string }).code === 'user_not_found') this.#known.set(id, undefined);
      else if (isPassing(error) || error instanceof TypeError) {
        // Whoever asks too fast goes slower: nobody else is looked up in its place.
        await new Promise((pass) => setTimeout(pass, (error as Partial<RequestError>).retryAfterMs ?? RETRY_MS));
        this.#waiting.unshift(id);
      }
    }
  }
}
