/** Which section of the console is open, and what in it: what stands behind `#`. */

import { on } from 'svelte/events';

export const SECTIONS = ['overview', 'users', 'rooms', 'notifications', 'payments', 'audit', 'settings'] as const;
export type Section = (typeof SECTIONS)[number];

interface Place {
  section: Section;
  /** A part of the section, and one thing of it. */
  part?: string | undefined;
  id?: string | undefined;
}

function parse(hash: string): Place {
  const [section, part, id] = hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const known = SECTIONS.find((it) => it === section);
  return known ? { section: known, part: part || undefined, id: id || undefined } : { section: 'overview' };
}

let current = $state.raw(parse(location.hash));
on(window, 'hashchange', () => (current = parse(location.hash)));

export const place = (): Place => current;

export const linkTo = (section: Section, ...more: string[]) => ['#', section, ...more.map(encodeURIComponent)].join('/');
