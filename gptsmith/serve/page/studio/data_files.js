/** The files of a collection. */

import { el, fill, iconButton, readableBytes } from "../element.js";
import { confirmed, tried } from "./dialogs.js";

/** Rows of a list that are shown at a time. */
export const NUM_SHOWN = 200;

/** Shows the files, a window of them at a time. */
export async function showFiles(place, collection, studio, onChange, offset = 0) {
  const { api, t } = studio;
  const { items, num_items: count, unfinished } = await api.get("data/files", { name: collection.name, offset, limit: NUM_SHOWN });
  const again = (from = offset) => showFiles(place, collection, studio, onChange, from);
  const remove = tried(studio, async (file) => {
    if (!await confirmed(t("data.delete_file_question", { file: file.path }), { button: t("data.delete"), t })) return;
    await api.post("data/files/delete", { name: collection.name, paths: [file.path] });
    onChange();
    await again();
  });
  const discard = tried(studio, async (upload) => { await api.post("data/uploads/cancel", { name: collection.name, upload: upload.id }); await again(); });
  const state = (file) => file.skipped ? t("data.skipped", { why: file.skipped }) : "";
  fill(place,
    el("h2", {}, t("data.files_title"), " ", el("span.soft", {}, count.toLocaleString())),
    unfinished.length > 0 && el("p.soft", {}, t("data.unfinished", { count: unfinished.length })),
    unfinished.length > 0 && el("ul", {}, unfinished.map((each) => el("li.row", {},
      el("span.path", { dir: "auto" }, each.path), el("span.soft", {}, `${readableBytes(each.offset)} / ${readableBytes(each.num_bytes)}`),
      el("button", { type: "button", onclick: () => discard(each) }, t("data.discard"))))),
    count === 0 && unfinished.length === 0 && el("p.soft", {}, t("data.no_files")),
    count > 0 && el("div.scroll", { tabIndex: 0 }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, t("data.file")), el("th.number", {}, t("data.size")), el("th", {}, t("data.state")), !collection.path && el("td", {}))),
      el("tbody", {}, items.map((file) => el("tr", {},
        el("td.path", { dir: "auto" }, file.path), el("td.number", {}, readableBytes(file.num_bytes)), el("td.soft", { dir: "auto" }, state(file)),
        !collection.path && el("td", {}, iconButton("trash", t("data.delete_named", { file: file.path }), () => remove(file)))))))),
    pager(count, offset, again, studio));
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
