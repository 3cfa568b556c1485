/** The files of a collection. */

import { el, fill, readableBytes } from "../element.js";

/** Rows of a list that are shown at a time. */
export const NUM_SHOWN = 200;

/** Shows the files, a window of them at a time. */
export async function showFiles(place, collection, studio, onChange, offset = 0) {
  const { api, t } = studio;
  const { items, num_items: count, unfinished } = await api.get("data/files", { name: collection.name, offset, limit: NUM_SHOWN });
  const state = (file) => file.skipped ? t("data.skipped", { why: file.skipped }) : "";
  fill(place,
    el("h2", {}, t("data.files_title"), " ", el("span.soft", {}, count.toLocaleString())),
    unfinished.length > 0 && el("p.soft", {}, t("data.unfinished", { count: unfinished.length })),
    unfinished.length > 0 && el("ul", {}, unfinished.map((each) => el("li", { dir: "auto" },
      `${each.path} · ${readableBytes(each.offset)} / ${readableBytes(each.num_bytes)}`))),
    count === 0 && unfinished.length === 0 && el("p.soft", {}, t("data.no_files")),
    count > 0 && el("div.scroll", {}, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, t("data.file")), el("th.number", {}, t("data.size")), el("th", {}, t("data.state")))),
      el("tbody", {}, items.map((file) => el("tr", {},
        el("td.path", { dir: "auto" }, file.path), el("td.number", {}, readableBytes(file.num_bytes)), el("td.soft", { dir: "auto" }, state(file))))))),
    pager(count, offset, (next) => showFiles(place, collection, studio, onChange, next), studio));
}

/** Buttons to the windows before and after. */
export function pager(count, offset, onTurn, { t }) {
  if (count <= NUM_SHOWN) return null;
  const turn = (by) => () => onTurn(offset + by);
  return el("div.row", {},
    el("button", { type: "button", disabled: offset === 0, onclick: turn(-NUM_SHOWN) }, t("data.before")),
    el("span.soft", {}, t("data.window", { first: offset + 1, last: Math.min(offset + NUM_SHOWN, count), count })),
    el("button", { type: "button", disabled: offset + NUM_SHOWN >= count, onclick: turn(NUM_SHOWN) }, t("data.after")));
}
