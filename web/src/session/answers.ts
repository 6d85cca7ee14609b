/** What an answer means that was a refusal, and what people are told of it. */

import { isPassing, RequestError } from '@madang/client';

import { currentLanguage, words } from '../words/words.svelte';

/** In their language: `known` has what a code means where they are. What the server says of it is English. */
export function toldOf(error: unknown, known: Record<string, string> = {}): string {
  const { common } = words();
  if (!(error instanceof RequestError)) return isPassing(error) || error instanceof TypeError ? common.notReached : common.failed;
  if (error.code === 'rate_limited') return common.tooMany;
  return known[error.code] ?? ((currentLanguage() === 'en' && error.message) || common.failed);
}

/** Answers after which nobody knows yet what becomes of what was asked for: it is asked for again under the same key. */
const UNDER_WAY = ['idempotency_key_in_use', 'payment_under_way', 'payment_key_in_use'];

/** Whether an answer is the last word about what was asked for. */
export function isSettled(error: unknown): boolean {
  return error instanceof RequestError && !isPassing(error) && !UNDER_WAY.includes(error.code);
}
