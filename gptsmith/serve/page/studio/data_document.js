/** One document: as a model will read it, beside its source; and its editor. */

import { el, fill, readableBytes } from "../element.js";
import { forget, keep, kept } from "../memory.js";
import { changed, tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";

export async function showDocument(place, collection, studio, onChange, start = 0) {
  const { api, t, about: [name, , document] } = studio;
  const isNewest = beginIn(place);
  const found = await api.get("data/document", { name, document, start });
  if (!isNewest()) return;
  const draft = `edit-${name}-${document}`;
  const again = (from = start) => showDocument(place, collection, studio, onChange, from);

  async function exclude() {
    const { number } = await api.post("data/exclude", { name, document });
    changed(t("data.excluded_now"), number, collection, studio, () => { onChange(); again(); });
  }

  /** Opens the editor; what is typed outlives a reload. */
  async function edit() {
    const { text, is_record: isRecord } = await api.get("data/editable", { name, document });
    const input = el("textarea.editor", {
      value: kept("sessionStorage", draft) ?? text, rows: 18, dir: "auto", spellcheck: false, "aria-label": t("data.edit_text"),
      oninput: () => keep("sessionStorage", draft, input.value),
    });
    const save = async () => {
      const { number } = await api.post("data/edit", { name, document, text: input.value });
      forget("sessionStorage", draft);
      changed(t("data.edited_now"), number, collection, studio, () => { onChange(); again(0); });
    };
    keep("sessionStorage", draft, input.value);
    fill(body, el("h3", {}, t("data.edit_text")), isRecord && el("p.soft", {}, t("data.edit_record")), input,
      el("p.soft", {}, t("data.sources_stay")),
      el("div.row", {},
        el("button.primary", { type: "button", onclick: tried(studio, save) }, t("data.save")),
        el("button", { type: "button", onclick: tried(studio, () => { forget("sessionStorage", draft); return again(); }) }, t("data.cancel"))));
    input.focus();
  }

  const body = el("div", {},
    el("div.beside-source", {},
      el("section", { "aria-label": t("data.as_read") }, el("h3", {}, t("data.as_read")), el("pre.text", { dir: "auto", tabIndex: 0 }, found.text)),
      el("section", { "aria-label": t("data.source") }, el("h3", {}, t("data.source")),
        found.source === null
          ? el("p.soft", { dir: "auto" }, t("data.no_source_text", { file: found.file, kind: found.reader, bytes: readableBytes(found.source_bytes) }))
          : el("pre.text", { dir: "auto", tabIndex: 0 }, found.source))),
    found.size > found.window && el("div.row", {},
      el("button", { type: "button", disabled: start === 0, onclick: tried(studio, () => again(Math.max(0, start - found.window))) }, t("data.before")),
      el("span.soft", {}, t("data.window", { first: start + 1, last: found.stop, count: found.size })),
      el("button", { type: "button", disabled: found.stop >= found.size, onclick: tried(studio, () => again(found.stop)) }, t("data.after"))));
  refill(place,
    el("p", {}, el("a", { href: `#/data/${encodeURIComponent(name)}` }, t("data.all_documents"))),
    el("div.row", {}, el("h2.path", { dir: "auto" }, found.file),
      found.is_excluded && el("span.badge", {}, t("data.excluded")),
      found.is_edited && el("span.badge", {}, t("data.edited")),
      el("span.space"),
      found.can_be_edited && !found.is_excluded && el("button", { type: "button", onclick: tried(studio, edit) }, t("data.edit")),
      !found.is_excluded && el("button", { type: "button", onclick: tried(studio, exclude) }, t("data.exclude"))),
    body);
  if (kept("sessionStorage", draft) !== null && !found.is_excluded) await edit();
}
