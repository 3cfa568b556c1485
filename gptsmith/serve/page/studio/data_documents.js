/** The documents of a collection as a list. */

import { el, readableBytes } from "../element.js";
import { changed, tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { NUM_SHOWN, pager } from "./pager.js";

export async function showDocuments(place, collection, studio, onChange, offset = 0, which = "all") {
  const { api, t } = studio;
  const { name } = collection;
  const isNewest = beginIn(place);
  const { items, num_items: count } = await api.get("data/documents", { name, offset, which, limit: NUM_SHOWN });
  if (!isNewest()) return;
  const again = (from = offset, kind = which) => showDocuments(place, collection, studio, onChange, from, kind);

  async function exclude(row) {
    const { number } = await api.post("data/exclude", { name, document: row.document });
    changed(t("data.excluded_now"), number, collection, studio, () => { onChange(); again(); });
  }

  const state = (row) => {
    if (row.is_excluded) return el("span.badge", {}, t("data.excluded"));
    return row.is_edited ? el("span.badge", {}, t("data.edited")) : null;
  };
  const filter = el("select", { "aria-label": t("data.which"), onchange: tried(studio, ({ target }) => again(0, target.value)) },
    ["all", "changed"].map((kind) => el("option", { value: kind, selected: kind === which }, t(`data.which_${kind}`))));
  refill(place,
    el("div.row", {}, el("h2", {}, t("data.part_documents")), el("span.space"), filter),
    count === 0 ? el("p.soft", {}, t("data.no_documents")) : el("ul.documents", {}, items.map((row) => el("li", {},
      el("a.document", { href: `#/data/${encodeURIComponent(name)}/documents/${row.document}`, class: row.is_excluded ? "document out" : "document" },
        el("span.path", { dir: "auto" }, row.file),
        el("span.beginning", { dir: "auto" }, row.beginning)),
      state(row),
      el("span.soft.size", {}, readableBytes(row.num_bytes)),
      row.is_excluded ? null : el("button", { type: "button", "aria-label": t("data.exclude_named", { file: row.file }), onclick: tried(studio, () => exclude(row)) }, t("data.exclude"))))),
    pager(count, offset, (next) => again(next), studio));
}
