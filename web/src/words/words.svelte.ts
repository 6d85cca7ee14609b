/** The language of the page: chosen, or else the browser's. */

import { en, type Words } from './en';
import { ko } from './ko';

export const LANGUAGES = { en, ko } as const;
export type Language = keyof typeof LANGUAGES;

const KEPT_AS = 'madang.language';

function first(): Language {
  const wanted = [localStorage.getItem(KEPT_AS), ...navigator.languages];
  const known = wanted.map((it) => it?.slice(0, 2)).find((it): it is Language => it === 'ko' || it === 'en');
  return known ?? 'en';
}

let language = $state<Language>(first());
document.documentElement.lang = language;

/** The words of now. Read where they are shown, so that another choice shows at once. */
export const words = (): Words => LANGUAGES[language];
export const currentLanguage = (): Language => language;

export function chooseLanguage(chosen: Language): void {
  language = chosen;
  localStorage.setItem(KEPT_AS, chosen);
  document.documentElement.lang = chosen;
}
