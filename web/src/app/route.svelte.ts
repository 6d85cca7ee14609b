/** Where in the app somebody is: what stands behind `#`, so that the server serves one page. */

import { on } from 'svelte/events';

export type Place = 'chats' | 'people' | 'bell' | 'wallet' | 'settings';

export interface Route {
  place: Place;
  /** What of the place is open: a room, a person. */
  id?: string;
  /** What is looked for there: the number of a message. */
  at?: number;
}

const PLACES: readonly string[] = ['chats', 'people', 'bell', 'wallet', 'settings'];

function parse(hash: string): Route {
  const [place = '', id, at] = hash.replace(/^#\/?/, '').split('/');
  if (!PLACES.includes(place)) return { place: 'chats' };
  const number = Number(at);
  return {
    place: place as Place,
    ...(id ? { id: decodeURIComponent(id) } : {}),
    ...(at && Number.isSafeInteger(number) && number > 0 ? { at: number } : {}),
  };
}

let current = $state.raw<Route>(parse(location.hash));
on(window, 'hashchange', () => (current = parse(location.hash)));

export const route = (): Route => current;

export const linkTo = (place: Place, id?: string, at?: number) =>
  `#/${place}${id === undefined ? '' : `/${encodeURIComponent(id)}`}${at === undefined ? '' : `/${at}`}`;

export function go(place: Place, id?: string, at?: number): void {
  location.hash = linkTo(place, id, at);
}
