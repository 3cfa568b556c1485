/** The words of the studio in the language that a person reads. */

import { keep, kept } from "../memory.js";
import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

export const LANGUAGES = { en: { name: "English", words: EN }, zh: { name: "中文", words: ZH } };

/** The code of the language: the chosen one, else the browser's, else English. */
export function language() {
  const chosen = kept("localStorage", "language");
  if (chosen in LANGUAGES) return chosen;
  return navigator.languages.map((code) => code.split("-")[0]).find((code) => code in LANGUAGES) ?? "en";
}

export const chooseLanguage = (code) => keep("localStorage", "language", code);

/**
 * A text by its name, with its gaps filled: `{name}` is a value, and `{count|run|runs}` a count with its noun: "1 run", "2 runs".
 */
export function t(name, values = {}) {
  const text = LANGUAGES[language()].words[name] ?? EN[name] ?? name;
  return text.replace(/\{(\w+)(?:\|([^|}]*)\|([^|}]*))?\}/g, (gap, key, one, many) => {
    if (!(key in values)) return gap;
    const value = typeof values[key] === "number" ? values[key].toLocaleString(language()) : values[key];
    if (one === undefined) return value;
    return `${value} ${values[key] === 1 ? one : many}`.trim();
  });
}
