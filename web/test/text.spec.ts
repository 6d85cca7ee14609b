/** What is written, taken apart. */

import { readFile } from 'node:fs/promises';

import { expect, test } from '@playwright/test';

import { mayMeanOthers, mentionAt, mentionedIn } from '../src/conversation/mentions.js';
import { partsOf } from '../src/conversation/text.js';
import { en } from '../src/words/en.js';
import { ko } from '../src/words/ko.js';

const links = (body: string) => partsOf(body, false).flatMap((it) => (it.kind === 'link' ? [it.href] : []));

test('only what begins as a web address is a link, without what ends a sentence', () => {
  expect(links('See https://example.org/a_b?c=1#d. Or (http://example.org)!')).toEqual(['https://example.org/a_b?c=1#d', 'http://example.org']);
  expect(links('javascript:alert(1) data:text/html,x //example.org')).toEqual([]);
  expect(links('https://example.org"onclick="x')).toEqual(['https://example.org']);
});

test('nothing of what was written is lost', () => {
  for (const body of ['', 'a', '@jisoo https://a.b/c, @minho', '<b>&amp;</b>', '한국어 @지수 글']) {
    expect(partsOf(body, true).map((it) => it.text).join('')).toBe(body);
  }
});

test('a mention is begun at a word that begins with @', () => {
  expect(mentionAt('Hello @ji', 9)).toEqual({ from: 6, text: 'ji' });
  expect(mentionAt('jisoo@example', 13)).toBeUndefined();
});

test('whoever is named is mentioned, once, if they are here', () => {
  const members = ['jisoo', '민호'].map((handle) => ({ user_id: `id of ${handle}`, handle }) as never);
  expect(mentionedIn('@Jisoo and @jisoo and @민호 and @nobody', members)).toEqual(['id of jisoo', 'id of 민호']);
});

test('whoever is named is mentioned with a title, a particle or a full stop behind the name, and nobody by the beginning of another one', () => {
  const members = ['min', 'minho', '민호', '민호야구'].map((handle) => ({ user_id: handle, handle }) as never);
  const meant = (text: string) => [mentionedIn(text, members), mayMeanOthers(text, members)];
  for (const text of ['@minho님', '@Minho.', '@minho_-', '@minho한테서 왔어', '(@minho)', '@minho님.']) expect(meant(text), text).toEqual([['minho'], false]);
  for (const text of ['@민호야', '@민호 안녕', '@민호이랑 가자', '@민호...']) expect(meant(text), text).toEqual([['민호'], false]);
  expect(meant('@민호야구')).toEqual([['민호야구'], false]);
  for (const text of ['@minhox', '@minho.kim', '@minho2님', '@민호석', '@민호kim']) expect(meant(text), text).toEqual([[], true]);
  expect(meant('@min씨, @민호가')).toEqual([['min', '민호'], false]);
});

test('a mention is shown without what ends its sentence', () => {
  const marked = (body: string) => partsOf(body, true).flatMap((it) => (it.kind === 'mention' ? [it.text] : []));
  expect(marked('Hello @minho. And @민호야, @a-b_c...')).toEqual(['@minho', '@민호야', '@a-b_c']);
});

test('every refusal that is put into words is one that the server gives, in every language', async () => {
  const given = await readFile(new URL('../../src/error/table.rs', import.meta.url), 'utf8');
  // A message that finds no place to wait has not reached the server.
  const refusals = (words: typeof en) => [words.login, words.conversation, words.wallet].map((it) => Object.keys(it.errors).filter((code) => code !== 'outbox_full'));
  for (const code of refusals(en).flat()) expect(given).toContain(`"${code}"`);
  expect(refusals(ko)).toEqual(refusals(en));
});
