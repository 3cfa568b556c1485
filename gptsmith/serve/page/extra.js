/** What a page around the chat page adds to it: alone, it is as it is. */

import { t } from "./words.js";
export const extra = {
  /** The name of the model that conversations begin with where nothing else says it. */
  firstModel: () => undefined,
  /** Whether it lets a person choose the language. */
  hasLanguage: false,
  /** Nodes for the bar. */
  bar: () => [],
  /** Where what is said is kept. */
  whereKept: () => t("chat.where_kept"),
  /** Below a message: {lines, buttons}. */
  more: () => ({}),
  /** Called when a conversation was shown. */
  shown: () => {},
  /** Answers a message in another way; whether it does. */
  write: async () => false,
  /** Called with a message of the model and another version of it, which a person has written. */
  edited: () => {},
  /** More fields of a request for an answer. */
  fields: () => ({}),
  /** Why nothing can be sent now, or "". */
  waitsFor: () => "",
};
