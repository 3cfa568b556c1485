/** What was changed of a collection by hand; each change can be undone. */

import { el } from "../element.js";
import { tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { NUM_SHOWN, pager } from "./pager.js";
import { moment } from "./words.js";

export async function showChanges(place, collection, studio, onChange, offset = 0) {
  const { api, t } = studio;
  const isNewest = beginIn(place);
  const { items, num_items: count } = await api.get("data/changes", { name: collection.name, offset, limit: NUM_SHOWN });
  const undo = tried(studio, async (change) => {
    await api.post("data/undo", { name: collection.name, number: change.number });
    onChange();
    await showChanges(place, collection, studio, onChange, offset);
  });
  if (!isNewest()) return;
  refill(place,
    el("h2", {}, t("data.part_changes")),
    el("p.soft", {}, t(count ? "data.sources_stay" : "data.no_changes")),
    el("ul.documents", {}, items.map((change) => el("li", {},
      el("span.document", { dir: "auto" }, words(change, studio)),
      el("span.soft", {}, moment(change.created * 1000)),
      el("button", { type: "button", "aria-label": `${t("data.undo")}: ${words(change, studio)}`, onclick: () => undo(change) }, t("data.undo"))))),
    pager(count, offset, (next) => showChanges(place, collection, studio, onChange, next), studio));
}

function words(change, { t }) {
  if (change.kind === "redact") return t(change.is_on ? "data.change_redact" : "data.change_no_redact");
  if (change.kind === "edit") return t("data.change_edit", { file: change.file });
  if (change.finding) return t("data.change_exclude_kind", { count: change.num_documents, kind: t(`data.found_${change.finding}`) });
  return t("data.change_exclude", { file: change.file });
}
