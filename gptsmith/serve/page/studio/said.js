/** What a command said, in the words of this page: by its code where it has one, else with fields in the place of options. */

import { readableBytes } from "../element.js";
import { readableMinutes } from "./minutes.js";

/**
 * What stands on this page for an option of the command line: the name of its words, and whether a value belongs to it. Of
 * `--set`, the value is a setting of the page.
 */
export const FIELDS = {
  "--minutes": ["train.how_long", true],
  "--hours": ["train.how_long", true],
  "--lora": ["train.weights", true],
  "--epochs": ["train.epochs", true],
  "--me": ["train.me", true],
  "--skip-bad": ["train.skip_bad", false],
  "--objective": ["train.objective", true],
  "--preset": ["train.preset", true],
  "--tokenizer": ["train.tokenizer", true],
  "--seed": ["train.seed", true],
  "--private": ["train.private_field", false],
  "--redact": ["train.redact", false],
  "--out": ["train.name", false],
  "--params": ["option.params", true],
  "--without": ["option.without", false],
  "--validation": ["option.validation", false],
  "--test": ["option.test", false],
  "--max-steps": ["train.epochs", true],
  "--batch-size": ["option.batch_size", true],
  "--context-length": ["option.context_length", true],
  "--learning-rate": ["option.learning_rate", true],
  "--encoding": ["option.encoding", true],
  "--encoding-errors": ["option.encoding_errors", true],
  "--set": ["train.settings", true],
};
const OPTION = /(?<![\w-])(--[a-z][a-z-]*)(?:[ =]('[^']*'|"[^"]*"|[^\s,;:()'"]+))?/g;
/** Where the studio keeps the files of a collection, which people know by their paths in it. */
const OWN_PATH = /(?:[^\s'":;,]*\/)?\.studio\/data\/[^/\s]+\/(?:files|made\/[^/\s]+\/texts)\//g;

/** A sentence of a command for a person at this page. `notice` is what it says as a code and values, or null. */
export function said(t, text, notice) {
  const name = `said.${notice?.code}`;
  return notice && t(name) !== name ? t(name, readable(notice.values, t)) : inTheseWords(t, text);
}

/** A sentence with the fields of this page in the place of options. */
export const inTheseWords = (t, text) => text.replace(OWN_PATH, "").replace(OPTION, (whole, option, value) => {
  const field = FIELDS[option];
  if (!field) return whole;
  const [name, hasValue] = field;
  const label = t(name);
  if (hasValue && value !== undefined) return t("said.field_value", { label, value: value.replace(/^(['"])(.*)\1$/, "$2") });
  return t("said.field", { label }) + (value === undefined ? "" : ` ${value}`);
});

/** Values as people read them. */
const readable = (values, t) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, readableValue(name, value, t)]));

function readableValue(name, value, t) {
  if (name.endsWith("_bytes")) return readableBytes(value);
  if (name.endsWith("minutes")) return readableMinutes(value, t);
  if (name === "file" || name === "place") return String(value).split("/").pop();
  if (name === "problem") return inTheseWords(t, value);
  if (name === "kinds") return Object.entries(value).map(([kind, count]) => `${t(`data.found_${kind}`)} ${count}`).join(t("said.comma"));
  return value;
}
