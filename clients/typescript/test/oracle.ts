/**
 * Says what is wrong with what a listener was told. Tests that cut, delay and double rely on it; that it sees what it is to
 * see has tests of its own.
 */

import type { DurableEvent } from '../src/index.js';
import { until, type Ears } from './people.js';

/** Everything that is wrong: of what was said, in this order, each must be there once, and numbers must ascend. */
export function faults(heard: DurableEvent[], said: string[]): string[] {
  const messages = heard.flatMap((it) => (it.event === 'message_sent' ? [it.data.body] : []));
  const wrong: string[] = [];
  for (const body of said) {
    const times = messages.filter((it) => it === body).length;
    if (times === 0) wrong.push(`lost: ${body}`);
    if (times > 1) wrong.push(`doubled: ${body}`);
  }
  for (const body of messages) if (!said.includes(body)) wrong.push(`never said: ${body}`);
  for (const [n, { seq }] of heard.entries()) {
    const before = heard[n - 1]?.seq ?? 0;
    if (seq <= before) wrong.push(`out of order: ${seq} after ${before}`);
  }
  const known = messages.filter((body) => said.includes(body));
  for (const [n, body] of known.entries()) {
    const before = known[n - 1] ?? body;
    if (said.indexOf(body) < said.indexOf(before)) wrong.push(`out of order: ${body} after ${before}`);
  }
  return wrong;
}

/** The same, once the last of it was heard: what comes before it in its room is heard by then, or is lost. */
export async function faultsInTheEnd(ears: Ears, said: string[]): Promise<string[]> {
  await until(() => ears.bodies.includes(said.at(-1) ?? ''), 'the last is heard');
  return faults(ears.events, said);
}
