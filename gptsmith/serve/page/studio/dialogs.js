/** Questions to a person, and what becomes of what was pressed. */

import { el } from "../element.js";
import { askFor, inDialog } from "../popup.js";
import { Api } from "./api.js";

/** Asks for one line of text; resolves to it, or to null. */
export const askLine = (question, { t, ...options }) => askFor(question, { cancel: t("data.cancel"), ...options });

/** Asks for a text of several lines; resolves to it, or to null. */
export function askText(question, { button, t }) {
  const input = el("textarea", { rows: 14, dir: "auto", spellcheck: false });
  return inDialog(question, (close) => el("form", { onsubmit: (event) => { event.preventDefault(); close(input.value); } },
    el("label", {}, question, input),
    el("div.dialog-buttons", {},
      el("button", { type: "button", onclick: () => close(null) }, t("data.cancel")),
      el("button.primary", { type: "submit" }, button))), { isWide: true });
}

/** Asks whether something is to be done; resolves to whether it is. */
export const confirmed = (question, { button, t }) => inDialog(question, (close) => el("div", {},
  el("p", { dir: "auto" }, question),
  el("div.dialog-buttons", {},
    el("button", { type: "button", onclick: () => close(false) }, t("data.cancel")),
    el("button.primary", { type: "button", onclick: () => close(true) }, button))), { none: false });

/** What somebody pressed, which says what went wrong. */
export const tried = (studio, action) => async (...given) => {
  try {
    return await action(...given);
  } catch (error) {
    if (studio.signal.aborted) return undefined;
    studio.passing(error.message);
    if (error.name !== "ServerError") console.error(error);
    return undefined;
  }
};

/** Tells of a change that was made, and takes it back where that is wanted, also when its view was left. */
export function changed(words, number, collection, { signal, passing, t }, onChange) {
  passing(words, t("data.undo"), async () => {
    try {
      await new Api(new AbortController().signal).post("data/undo", { name: collection.name, number });
    } catch (error) {
      passing(error.message);
    }
    if (signal.aborted) dispatchEvent(new HashChangeEvent("hashchange"));
    else onChange();
  });
  onChange();
}
