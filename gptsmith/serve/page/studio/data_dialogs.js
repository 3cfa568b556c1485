/** Questions of the data view. */

import { el } from "../element.js";
import { Api } from "./api.js";

/** Asks for a text of several lines; resolves to it, or to null. */
export function askText(question, { value = "", button, hint = "", t }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const input = el("textarea", { value, rows: 14, dir: "auto", spellcheck: false });
    const close = (answer) => {
      box.close();
      box.remove();
      before?.focus();
      resolve(answer);
    };
    const form = el("form", { onsubmit: (event) => { event.preventDefault(); close(input.value); } },
      el("label", {}, question, input),
      hint && el("p.soft", {}, hint),
      el("div.dialog-buttons", {},
        el("button", { type: "button", onclick: () => close(null) }, t("data.cancel")),
        el("button.primary", { type: "submit" }, button)));
    const box = el("dialog.wide", { "aria-label": question, oncancel: (event) => { event.preventDefault(); close(null); } }, form);
    document.body.append(box);
    box.showModal();
  });
}

/** Asks whether something is to be done; resolves to whether it is. */
export function confirmed(question, { button, t }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const close = (answer) => {
      box.close();
      box.remove();
      before?.focus();
      resolve(answer);
    };
    const box = el("dialog", { "aria-label": question, oncancel: (event) => { event.preventDefault(); close(false); } },
      el("div", {}, el("p", { dir: "auto" }, question),
        el("div.dialog-buttons", {},
          el("button", { type: "button", onclick: () => close(false) }, t("data.cancel")),
          el("button.primary", { type: "button", onclick: () => close(true) }, button))));
    document.body.append(box);
    box.showModal();
  });
}

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
