/** The files of a collection. */

import { el, iconButton, readableBytes } from "../element.js";
import { confirmed, tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { NUM_SHOWN, pager } from "./pager.js";
import { number } from "./words.js";

/** Shows the files, a window of them at a time. */
export async function showFiles(place, collection, studio, onChange, offset = 0) {
  const { api, t } = studio;
  const isNewest = beginIn(place);
  const { items, num_items: count, unfinished } = await api.get("data/files", { name: collection.name, offset, limit: NUM_SHOWN });
  if (!isNewest()) return;
  const again = (from = offset) => showFiles(place, collection, studio, onChange, from);
  const remove = tried(studio, async (file) => {
    if (!await confirmed(t("data.delete_file_question", { file: file.path }), { button: t("data.delete"), t })) return;
    await api.post("data/files/delete", { name: collection.name, paths: [file.path] });
    onChange();
    await again();
  });
  const discard = tried(studio, async (upload) => { await api.post("data/uploads/cancel", { name: collection.name, upload: upload.id }); await again(); });
  const state = (file) => file.skipped ? t("data.skipped", { why: file.skipped }) : "";
  refill(place,
    el("h2", {}, t("data.files_title"), " ", el("span.soft", {}, number(count))),
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
