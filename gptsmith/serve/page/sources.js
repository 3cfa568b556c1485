/** The sources of an answer: passages of documents, folded under it, each a click away from what stands around it. */

import { el, iconButton } from "./element.js";
import { closeBeside, openBeside, passing } from "./popup.js";
import { passage, ServerError } from "./server.js";
import { t } from "./words.js";

/** Headings that a passage begins with: they are said above it. */
const HEADINGS = /^(#{1,6} .*\s*)+/;

/** Where a passage stands, for a person. */
export const placeOf = ({ file, line, headings }) =>
  [line === null ? file : t("chat.line", { file, line }), headings.join(" › ")].filter(Boolean).join(" · ");

/** The answers whose sources are unfolded. */
const unfolded = new WeakSet();

/** Whether passages were in the prompt of an answer. What explains a word does not know them. */
export const hasSources = (node) => Boolean(node.documents?.sources.length);

/** What stands under an answer for which documents were searched; null under others. */
export function sourcesOf(node) {
  if (!node.documents) return null;
  const { sources, note } = node.documents;
  if (!sources.length) return note && el("p.soft", {}, note);
  const toggled = ({ target }) => unfolded[target.open ? "add" : "delete"](node);
  return el("details.sources", { open: unfolded.has(node), ontoggle: toggled }, el("summary", {}, t("chat.sources", { count: sources.length })),
    el("ol", {}, sources.map((source) => el("li", {}, entry(source)))));
}

function entry(source) {
  const button = el("button.source", { type: "button", "aria-haspopup": "dialog", onclick: () => open(source, button) },
    el("span.place", { dir: "auto" }, placeOf(source)), el("span.soft", { dir: "auto" }, source.text.replace(HEADINGS, "")));
  return button;
}

/** Opens a passage with what stands before and after it; where its file has changed, as the model was given it. */
async function open(source, button) {
  let found = { ...source, before: "", after: "" };
  let note = null;
  try {
    found = await passage(source.id);
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    if (error.kind !== "refused") return passing(error.message);
    note = el("p.soft", {}, t("chat.file_changed"));
  }
  const part = (name, text) => text && el(name, { dir: "auto" }, text);
  openBeside(button, t("chat.source", { place: placeOf(source) }), el("div.passage", {},
    el("div.row", {}, el("h3", { dir: "auto" }, placeOf(source)), iconButton("close", t("chat.close_source"), () => closeBeside(true))), note, part("p.around", found.before), part("p", found.text), part("p.around", found.after)));
}
