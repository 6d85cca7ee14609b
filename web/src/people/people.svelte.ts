/** Names and pictures by id. Whoever is asked for and not known is looked up once; the name shows when it comes. */

import type { Account, components, Rest } from '@madang/client';
import { SvelteMap } from 'svelte/reactivity';

export type Person = components['schemas']['PersonView'];

export class People {
  readonly #known = new SvelteMap<string, Person | undefined>();
  readonly #asked = new Set<string>();

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
      void this.#find(id);
    }
    return this.#known.get(id);
  }

  /** Whether the server says that there is no such person, or none who may be seen. */
  isGone(id: string): boolean {
    return this.#known.has(id) && this.#known.get(id) === undefined;
  }

  async #find(id: string): Promise<void> {
    try {
      const { data } = await this.rest.GET('/v1/users/{id}', { params: { path: { id } } });
      if (data) this.#known.set(id, data);
    } catch (error) {
      if ((error as { code?: string }).code === 'user_not_found') this.#known.set(id, undefined);
      // Nobody answered: the next one who asks tries again.
      else this.#asked.delete(id);
    }
  }
}
