/** Which day it is. Read where it is shown, so that midnight shows at once. */

const DAY_MS = 86_400_000;
const LOOK_EVERY_MS = 60_000;

/** Days since the beginning of 1970, where the reader is. */
export function dayOf(at: string | number): number {
  const date = new Date(at);
  return Math.floor((date.getTime() - date.getTimezoneOffset() * 60_000) / DAY_MS);
}

let day = $state(dayOf(Date.now()));
const look = () => (day = dayOf(Date.now()));
setInterval(look, LOOK_EVERY_MS);
// Nobody counts the minutes of a page that rests.
document.addEventListener('visibilitychange', look);

export const today = (): number => day;
