/** How somebody wants to be seen from this browser, until they choose something else. */

import type { PresenceChoice } from '@madang/client';

export const PRESENCES = ['online', 'away', 'busy', 'invisible'] as const satisfies PresenceChoice[];

const keptAs = (user: string) => `madang.presence.${user}`;

export const keptPresence = (user: string): PresenceChoice => PRESENCES.find((it) => it === localStorage.getItem(keptAs(user))) ?? 'online';

export const keepPresence = (user: string, choice: PresenceChoice) => localStorage.setItem(keptAs(user), choice);
