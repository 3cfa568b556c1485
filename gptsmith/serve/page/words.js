/** The words of the pages in the language that a person reads. */

import { keep, kept } from "./memory.js";
import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/;

/** Each language with the words of the chat page; a page around it adds its own. */
export const LANGUAGES = { en: { name: "English", dates: "en-GB", words: { ...EN } }, zh: { name: "中文", dates: "zh", words: { ...ZH } } };

/** Adds words, by the code of their language. */
export function addWords(more) {
  for (const [code, words] of Object.entries(more)) Object.assign(LANGUAGES[code].words, words);
}

/** The code of the language: the chosen one, else the browser's, else English. */
export function language() {
  const chosen = kept("localStorage", "language");
  if (chosen in LANGUAGES) return chosen;
  return navigator.languages.map((code) => code.split("-")[0]).find((code) => code in LANGUAGES) ?? "en";
}

export const chooseLanguage = (code) => keep("localStorage", "language", code);

/** A count in the language. */
export const number = (count) => count.toLocaleString(language());

/** A time of the clock and its day, in the language. */
export const moment = (ms) => new Intl.DateTimeFormat(language(), { dateStyle: "medium", timeStyle: "short" }).format(ms);

/** A day, and a month, in the language. */
export const day = (ms) => new Intl.DateTimeFormat(LANGUAGES[language()].dates, { dateStyle: "long" }).format(ms);
export const month = (ms) => new Intl.DateTimeFormat(LANGUAGES[language()].dates, { month: "long", year: "numeric" }).format(ms);

/** A name inside a sentence: one that is written from right to left, or turns the direction, leaves the rest as it is. */
const isolated = (text) => (TURNS.test(text) ? `\u2068${text}\u2069` : text);

/**
 * A text by its name, with its gaps filled: `{name}` is a value, and `{count|run|runs}` a count with its noun: "1 run", "2 runs".
 */
export function t(name, values = {}) {
  const text = LANGUAGES[language()].words[name] ?? LANGUAGES.en.words[name] ?? name;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g, (gap, key, one, many) => {
    if (!(key in values)) return gap;
    const value = typeof values[key] === "number" ? number(values[key]) : isolated(String(values[key]));
    if (one === undefined) return value;
    return `${value} ${values[key] === 1 ? one : many}`.trim();
  });
}
