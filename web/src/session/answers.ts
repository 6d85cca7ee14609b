/** What people are told of an answer that was a refusal. */

import { isPassing, RequestError } from '@madang/client';

import { words } from '../words/words.svelte';

/** In their language: `known` has what a code means where they are. */
export function toldOf(error: unknown, known: Record<string, string> = {}): string {
  const { common } = words();
  if (!(error instanceof RequestError)) return isPassing(error) || error instanceof TypeError ? common.notReached : common.failed;
  if (error.code === 'rate_limited') return common.tooMany;
  return known[error.code] ?? (error.message || common.failed);
}
