/** The words of the studio in the language that a person reads. */

import { keep, kept } from "../memory.js";
import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

const TURNS = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/;

export const LANGUAGES = { en: { name: "English", words: EN }, zh: { name: "中文", words: ZH } };

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

/** A name inside a sentence: one that is written from right to left, or turns the direction, leaves the rest as it is. */
const isolated = (text) => (TURNS.test(text) ? `\u2068${text}\u2069` : text);

/** The words of charts by the English ones that stand in them. */
export const chartWords = () => Object.fromEntries(Object.keys(EN).filter((name) => name.startsWith("chart.")).map((name) => [EN[name], t(name)]));

/**
 * A text by its name, with its gaps filled: `{name}` is a value, and `{count|run|runs}` a count with its noun: "1 run", "2 runs".
 */
export function t(name, values = {}) {
  const text = LANGUAGES[language()].words[name] ?? EN[name] ?? name;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g, (gap, key, one, many) => {
    if (!(key in values)) return gap;
    const value = typeof values[key] === "number" ? number(values[key]) : isolated(String(values[key]));
    if (one === undefined) return value;
    return `${value} ${values[key] === 1 ? one : many}`.trim();
  });
}
