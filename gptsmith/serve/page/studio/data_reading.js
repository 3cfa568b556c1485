/** What was read of a collection: progress, figures, and what was skipped. */

import { el, fill, icon, readableBytes, readableCount } from "../element.js";
import { tried } from "./dialogs.js";
import { beginIn } from "./in_place.js";
import { progressBar } from "./progress.js";
import { partWords } from "./train_choice.js";
import { number } from "./words.js";
import { inTheseWords } from "./said.js";

/** Shows the reading of a collection until it is over; resolves to what was read, or null. */
export async function showReading(place, collection, studio, again = "") {
  const { api, t } = studio;
  const { name } = collection;
  const isNewest = beginIn(place);
  const cancel = el("button", { type: "button", onclick: tried(studio, () => api.post("data/reading/cancel", { name })) }, t("data.cancel"));
  const bar = progressBar(el("h2", {}, t("data.reading")), cancel, t("data.reading"));
  let last = null;
  await api.follow("data/reading", (now) => {
    last = now;
    if (now.state !== "reading") return false;
    if (isNewest() && !bar.isConnected) fill(place, bar);
    bar.show(now);
    return true;
  }, { query: () => ({ name, again: last === null ? again : "" }), everyMs: 400 });
  if (last?.state === "read") {
    if (isNewest()) fill(place, figures(last, collection, studio));
    return last;
  }
  const readAgain = tried(studio, () => showReading(place, collection, studio, "yes").then((read) => read && dispatchEvent(new HashChangeEvent("hashchange"))));
  if (isNewest()) fill(place,
    el("h2", {}, t("data.what_was_read")),
    last?.state === "failed" && el("p.problem", { role: "alert", dir: "auto" }, icon("alert"), inTheseWords(t, last.problem)),
    last?.state === "cancelled" && el("div.row", {}, el("p", {}, t("data.reading_cancelled")), el("button", { type: "button", onclick: readAgain }, t("data.read"))));
  return null;
}

function figures(read, collection, { t }) {
  const readers = read.readers.map((each) =>
    el("tr", {}, el("td", {}, each.reader), el("td.number", {}, number(each.num_files)),
      el("td.number", {}, number(each.num_documents)), el("td.number", {}, readableBytes(each.num_bytes))));
  const isChanged = read.num_left_documents !== read.num_documents || read.num_left_bytes !== read.num_bytes;
  return [
    el("h2.unseen", {}, t("data.what_was_read")),
    el("p", {},
      el("strong", {}, t("data.documents", { count: read.num_left_documents })), " · ", readableBytes(read.num_left_bytes), collection.kind && ` · ${t(`data.kind_${collection.kind}`)}`, " ",
      isChanged && el("span.soft", {}, t("data.before_changes", { count: read.num_documents, bytes: readableBytes(read.num_bytes) }))),
    collection.parts?.length > 1 && el("p", {}, t("data.recognised", { parts: collection.parts.map((one) => partWords(t, one.kind, one.num_documents)).join(t("said.comma")) })),
    read.num_duplicates > 0 && el("p.soft", {}, t("data.exact_duplicates", { count: read.num_duplicates })),
    read.splits && el("p.soft", { dir: "auto" }, read.splits),
    el("div.details", {},
      el("details", {}, el("summary", {}, t("data.by_reader")), el("div.scroll", { tabIndex: 0 }, el("table", {},
        el("thead", {}, el("tr", {}, el("th", {}, t("data.reader")), el("th.number", {}, t("data.files_title")), el("th.number", {}, t("data.part_documents")), el("th.number", {}, t("data.size")))),
        el("tbody", {}, readers)))),
      groups(read.skipped, t("data.skipped_files", { count: total(read.skipped) })),
      groups(read.remarks, t("data.remarks", { count: total(read.remarks) }))),
  ];
}

const total = (some) => some.reduce((sum, group) => sum + group.num_files, 0);

/** Files by the reason why they were skipped. */
function groups(some, title) {
  if (!some.length) return [];
  return el("details", {}, el("summary", {}, title), el("ul.reasons", {}, some.map((group) => el("li", {},
    el("p", { dir: "auto" }, `${readableCount(group.num_files)} · ${group.reason}`),
    el("p.soft", { dir: "auto" }, group.files.join(", "), group.num_files > group.files.length ? ", …" : "")))));
}
