/** The windows of a long list. */

import { el } from "../element.js";
import { tried } from "./dialogs.js";

/** Rows of a list that are shown at a time. */
export const NUM_SHOWN = 200;

/** Buttons to the windows before and after; `onTurn(offset)` shows one. */
export function pager(count, offset, onTurn, studio, size = NUM_SHOWN) {
  if (count <= size) return null;
  const { t } = studio;
  const turn = (to) => tried(studio, () => onTurn(to));
  return el("div.row", {},
    el("button", { type: "button", disabled: offset === 0, onclick: turn(Math.max(0, offset - size)) }, t("data.before")),
    el("span.soft", {}, t("data.window", { first: offset + 1, last: Math.min(offset + size, count), count })),
    el("button", { type: "button", disabled: offset + size >= count, onclick: turn(offset + size) }, t("data.after")));
}
