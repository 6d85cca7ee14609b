/**
 * Whoever operates this installation: their login, which lives as long as the page and no longer, and what they ask with.
 *
 * Invariant: no cookie and no storage knows of it; a console that is loaded again is logged in to again.
 */

import { createRest, RequestError, Session, type Account, type Rest } from '@madang/client';
import { getContext, setContext } from 'svelte';

export class Operator {
  readonly session = new Session({ url: location.origin });
  readonly rest: Rest = createRest({ url: location.origin, credentials: this.session });
  who = $state.raw<Account>();

  constructor() {
    this.session.on('changed', (account) => {
      if (!account) this.who = undefined;
    });
  }

  /** Rejects with `forbidden` for whoever is no administrator; they are logged out again. */
  async signIn(identifier: string, password: string): Promise<void> {
    const account = await this.session.login(identifier, password);
    const { data } = await this.rest.GET('/v1/users/profile');
    if (!data?.roles.includes('ADMIN')) {
      await this.session.logout();
      throw new RequestError('forbidden', 'This account does not administer this installation.');
    }
    this.who = account;
  }

  /** Here at once, and at the server if it answers: nothing of the login is kept. */
  async signOut(): Promise<void> {
    this.who = undefined;
    await this.session.logout().catch(() => {});
  }
}

const KEY = Symbol('operator');

export const provideOperator = (operator: Operator) => setContext(KEY, operator);
export const useOperator = () => getContext<Operator>(KEY);
