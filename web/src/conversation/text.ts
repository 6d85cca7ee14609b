/** What was written, in parts that are shown each in its way. Markup is text like any other. */

export type Part = { kind: 'text' | 'mention'; text: string } | { kind: 'link'; text: string; href: string };

const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/;
const MENTION = /@[\p{L}\p{N}_.-]{1,39}[\p{L}\p{N}]/u;
const EITHER = new RegExp(`(${LINK.source})|(${MENTION.source})`, 'gu');

/** `hasMentions` says whether anybody is mentioned: an `@` alone means nothing. */
export function partsOf(body: string, hasMentions: boolean): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const found of body.matchAll(EITHER)) {
    const [text, link] = found;
    if (link === undefined && !hasMentions) continue;
    if (found.index > end) parts.push({ kind: 'text', text: body.slice(end, found.index) });
    parts.push(link === undefined ? { kind: 'mention', text } : { kind: 'link', text, href: link });
    end = found.index + text.length;
  }
  if (end < body.length) parts.push({ kind: 'text', text: body.slice(end) });
  return parts;
}
