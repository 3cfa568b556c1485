/** The words of the studio, beside those of the chat page, in the language that a person reads. */

import { addWords, t } from "../words.js";
import { EN } from "./words_en.js";
import { ZH } from "./words_zh.js";

export { chooseLanguage, language, LANGUAGES, moment, number, t } from "../words.js";

addWords({ en: EN, zh: ZH });

/** The words of charts by the English ones that stand in them. */
export const chartWords = () => Object.fromEntries(Object.keys(EN).filter((name) => name.startsWith("chart.")).map((name) => [EN[name], t(name)]));
