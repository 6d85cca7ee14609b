/** Times and amounts as people of a language write them. */

import { dayOf, today } from './today.svelte';
import { currentLanguage, words } from './words.svelte';

const formats = new Map<string, Intl.DateTimeFormat>();

function format(name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${currentLanguage()} ${name}`;
  let known = formats.get(key);
  if (!known) formats.set(key, (known = new Intl.DateTimeFormat(currentLanguage(), options)));
  return known;
}

export const clock = (at: string) => format('clock', { hour: 'numeric', minute: '2-digit' }).format(new Date(at));
export const date = (at: string) => format('date', { dateStyle: 'medium' }).format(new Date(at));
export const moment = (at: string) => format('moment', { dateStyle: 'medium', timeStyle: 'short' }).format(new Date(at));

/** A heading over the messages of a day. */
export function dayName(at: string): string {
  const ago = today() - dayOf(at);
  if (ago === 0) return words().conversation.today;
  if (ago === 1) return words().conversation.yesterday;
  return format('day', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' }).format(new Date(at));
}

/** Short, for lists: the time of today, the date of before. */
export const brief = (at: string) => (dayOf(at) === today() ? clock(at) : format('brief', { day: 'numeric', month: 'short' }).format(new Date(at)));

export const won = (amount: number, currency = 'KRW') =>
  new Intl.NumberFormat(currentLanguage(), { style: 'currency', currency }).format(amount);
