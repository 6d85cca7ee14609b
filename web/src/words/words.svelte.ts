/** The language of the page: chosen, or else the browser's. Only the words of one language are ever loaded. */

import type { Words } from './en';

/** Each in its own name. */
export const LANGUAGES = { en: 'English', ko: '한국어' } as const;
export type Language = keyof typeof LANGUAGES;

const KEPT_AS = 'madang.language';
const LOAD: Record<Language, () => Promise<Words>> = {
  en: async () => (await import('./en')).en,
  ko: async () => (await import('./ko')).ko,
};

let language = $state<Language>('en');
let loaded = $state.raw<Words>();

/** The words of now. Read where they are shown, so that another choice shows at once. */
export function words(): Words {
  if (!loaded) throw new Error('no language was loaded');
  return loaded;
}

export const currentLanguage = (): Language => language;

/** Before anything is shown; of `only` where a page speaks no other language. */
export function loadWords(only?: Language): Promise<void> {
  const wanted = [only, localStorage.getItem(KEPT_AS), ...navigator.languages].map((it) => it?.slice(0, 2));
  return show(wanted.find((it): it is Language => it === 'ko' || it === 'en') ?? 'en');
}

export function chooseLanguage(chosen: Language): void {
  localStorage.setItem(KEPT_AS, chosen);
  void show(chosen);
}

async function show(chosen: Language): Promise<void> {
  loaded = await LOAD[chosen]();
  language = chosen;
  document.documentElement.lang = chosen;
}
