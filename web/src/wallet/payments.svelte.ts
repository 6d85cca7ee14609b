/**
 * Money as its owner sees it: what they have, what they paid and were paid, and what they take out.
 *
 * Invariant: whatever moves money is asked for under one key until it is answered, so that a second press, or a second try
 * after a broken connection, moves nothing twice.
 */

import type { components, DurableEvent, Rest } from '@madang/client';

import { isSettled } from '../session/answers';
import { useCourtyard } from '../session/courtyard.svelte';
import { readPages, type Pages } from '../session/pages';

type Schemas = components['schemas'];
export type Payment = Schemas['PaymentView'];
export type Withdrawal = Schemas['WithdrawalView'];
type Settlement = Schemas['SettlementView'];

const PAGE = 30;
const NOTHING = { items: [], hasMore: false };
/** Events that say that money has moved. */
const MOVED = /^(payment|withdrawal|settlement|wallet)_/;

export class Payments {
  wallet = $state.raw<Schemas['WalletView']>();
  history = $state.raw<Pages<Payment>>(NOTHING);
  withdrawals = $state.raw<Pages<Withdrawal>>(NOTHING);
  settlements = $state.raw<Pages<Settlement>>(NOTHING);
  accounts = $state.raw<Schemas['BankAccountView'][]>([]);
  failure = $state<unknown>();
  /** How many somebody wants to see of each list. */
  readonly #wanted = { history: PAGE, withdrawals: PAGE, settlements: PAGE };
  /** Readings that were asked for, and the latest that was answered. */
  #asked = 0;
  #answered = 0;
  /** What money is taken out with, until it was answered, by what was asked for. */
  readonly #keys = new Map<string, string>();

  constructor(private readonly rest: Rest) {}

  /** Reads everything, and again whenever money moves. */
  async load(): Promise<void> {
    const turn = (this.#asked += 1);
    const wanted = this.#wanted;
    try {
      const [wallet, history, settlements, withdrawals, accounts] = await Promise.all([
        this.rest.GET('/v1/payments/wallet'),
        readPages(PAGE, wanted.history, (query) => this.rest.GET('/v1/payments/history', { params: { query } })),
        readPages(PAGE, wanted.settlements, (query) => this.rest.GET('/v1/payments/settlements', { params: { query } })),
        readPages(PAGE, wanted.withdrawals, (query) => this.rest.GET('/v1/payments/withdrawals', { params: { query } })),
        this.rest.GET('/v1/payments/bank-accounts'),
      ]);
      if (turn < this.#answered) return;
      this.#answered = turn;
      this.wallet = wallet.data;
      this.history = history;
      this.settlements = settlements;
      this.withdrawals = withdrawals;
      this.accounts = accounts.data?.bank_accounts ?? [];
      this.failure = undefined;
    } catch (error) {
      if (turn > this.#answered) this.failure = error;
    }
  }

  /** A page more of a list, which is read from its beginning: what was before may have changed. */
  async more(list: 'history' | 'withdrawals' | 'settlements'): Promise<void> {
    this.#wanted[list] = this[list].items.length + PAGE;
    await this.load();
    if (this.failure) throw this.failure;
  }

  hearOwn(event: DurableEvent): void {
    const isTold = event.event === 'notification_created' && !('deleted' in event.data) && MOVED.test(event.data.type.replace('.', '_'));
    if (MOVED.test(event.event) || isTold) void this.load();
  }

  /** Begins a payment for an order, and says where it is made. */
  async begin(orderType: string, orderId: string): Promise<{ paymentId: string; checkoutUrl: string | undefined }> {
    const { data } = await this.rest.POST('/v1/payments/create', {
      params: { header: { 'Idempotency-Key': `create:${orderType}:${orderId}` } },
      body: { order_type: orderType, order_id: orderId },
    });
    const client = data!.client as { checkout_url?: string };
    return { paymentId: data!.payment_id, checkoutUrl: client.checkout_url };
  }

  /** Has a payment taken that its payer has made at the provider. `undefined` while nobody knows what came of it. */
  async confirm(paymentId: string, paymentKey: string, amount: number): Promise<Payment | undefined> {
    const { data, response } = await this.rest.POST('/v1/payments/confirm', {
      params: { header: { 'Idempotency-Key': `confirm:${paymentId}` } },
      body: { payment_id: paymentId, payment_key: paymentKey, amount },
    });
    return response.status === 202 ? undefined : (data as Payment);
  }

  /** Says that an account is the caller's own; in development only, elsewhere the app's server does. */
  async vouch(account: string): Promise<void> {
    await this.rest.PUT('/v1/dev/bank-accounts/{id}/verification', { params: { path: { id: account } } });
    await this.load();
  }

  /** Begins an order to try a payment with; in development only. */
  async order(payee: string, amount: number, name: string): Promise<{ order_type: string; order_id: string }> {
    const { data } = await this.rest.POST('/v1/dev/orders', { body: { payee_id: payee, amount, name } });
    return data!;
  }

  /** What was paid for such an order is its payee's. */
  async release(orderId: string): Promise<void> {
    await this.rest.POST('/v1/dev/orders/{order_id}/release', { params: { path: { order_id: orderId } } });
    await this.load();
  }

  async addAccount(bankCode: string, number: string, holder: string): Promise<void> {
    await this.rest.POST('/v1/payments/bank-accounts', { body: { bank_code: bankCode, account_number: number, holder } });
    await this.load();
  }

  async withdraw(amount: number, account: string): Promise<void> {
    const asked = `${amount} ${account}`;
    const key = this.#keys.get(asked) ?? crypto.randomUUID();
    this.#keys.set(asked, key);
    try {
      await this.rest.POST('/v1/payments/withdraw', {
        params: { header: { 'Idempotency-Key': key } },
        body: { amount, bank_account_id: account },
      });
      this.#keys.delete(asked);
    } catch (error) {
      if (isSettled(error)) this.#keys.delete(asked);
      throw error;
    } finally {
      await this.load();
    }
  }

  async cancelWithdrawal(id: string): Promise<void> {
    await this.rest.POST('/v1/payments/withdrawals/{id}/cancel', { params: { path: { id } } });
    await this.load();
  }
}

/** Nothing of it is read, and nobody hears of it, before the wallet is opened. */
export function usePayments(): Payments {
  const courtyard = useCourtyard();
  return (courtyard.payments ??= new Payments(courtyard.rest));
}
