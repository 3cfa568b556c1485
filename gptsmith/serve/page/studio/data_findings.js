/** What an audit found in a collection, and mending all of a kind. */

import { el, fill, icon } from "../element.js";
import { changed, tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { ACTIVE, progressWords } from "./jobs_list.js";
import { NUM_SHOWN, pager } from "./pager.js";
import { progressBar } from "./progress.js";
import { number } from "./words.js";
import { said } from "./said.js";

export async function showFindings(place, collection, studio, onChange, offset = 0) {
  const { api, t, about: [name, , kind = ""] } = studio;
  const query = { name, kind, offset, limit: NUM_SHOWN };
  const again = (from = offset) => showFindings(place, collection, studio, onChange, from);
  const begin = tried(studio, async () => { await api.post("data/audit", { name }); await again(); });
  const body = el("div.findings", {});
  const isNewest = beginIn(place);
  const redacts = await redaction(collection, studio, onChange);
  if (!isNewest()) return;
  refill(place, el("h2", {}, t("data.part_findings")), redacts, body);
  let job = null;
  const cancel = el("button", { type: "button", onclick: tried(studio, () => api.post("jobs/cancel", { id: job })) }, t("data.cancel"));
  const bar = progressBar(el("strong", {}, t("data.audit_runs")), cancel, t("data.audit_runs"));
  await api.follow("data/findings", (now) => {
    if (!body.isConnected) return false;
    if (ACTIVE.includes(now.state)) {
      job = now.job;
      if (!bar.isConnected) fill(body, bar);
      bar.show({ words: progressWords(t, now), fraction: now.progress?.fraction });
      return true;
    }
    if (now.state !== "done") fill(body, invitation(now, begin, studio));
    else fill(body, results(now));
    return false;
  }, { query });

  function results(now) {
    const secrets = now.kinds.length === 0
      ? el("p", {}, t("data.found_nothing"))
      : el("div.scroll", { tabIndex: 0 }, el("table", {},
        el("thead", {}, el("tr", {}, el("th", {}, t("data.kind")), el("th.number", {}, t("data.found")), el("th.number", {}, t("data.documents_left")), el("td", {}))),
        el("tbody", {}, now.kinds.map(row))));
    return [
      now.is_old && el("div.row.problem", {}, icon("alert"), t("data.audit_old")),
      secrets,
      kind && listed(now),
      el("div.row", {}, el("button", { type: "button", onclick: begin }, icon("again"), t("data.audit_again"))),
    ];
  }

  function row(each) {
    const exclude = tried(studio, async () => {
      const { number } = await api.post("data/exclude-kind", { name, kind: each.kind });
      changed(t("data.excluded_many", { count: each.num_left }), number, collection, studio, () => { onChange(); again(); });
    });
    const words = t(`data.found_${each.kind}`);
    return el("tr", {},
      el("td", {}, el("a", { href: `#/data/${encodeURIComponent(name)}/findings/${each.kind}`, "aria-current": each.kind === kind && "true" }, words), each.is_secret && el("span.badge", {}, t("data.secret"))),
      el("td.number", {}, number(each.count)),
      el("td.number", {}, number(each.num_left)),
      el("td", {}, each.num_left > 0 && el("button", { type: "button", "aria-label": `${t("data.exclude_all")}: ${words}`, onclick: exclude }, t("data.exclude_all"))));
  }

  function listed({ items, num_items: count }) {
    return el("section", { "aria-label": t(`data.found_${kind}`) },
      el("h3", {}, t(`data.found_${kind}`)),
      el("ul.documents", {}, items.map((each) => el("li", {}, finding(each)))),
      pager(count, offset, again, studio));
  }

  function finding(each) {
    const where = (file, line) => (line ? `${file}:${line}` : file);
    const text = el("span.beginning.text", { dir: "auto" });
    const show = tried(studio, async () => {
      const found = await api.get("data/finding", { name, number: each.number });
      fill(text, found.before, el("mark", {}, found.text), found.after);
      button.hidden = true;
    });
    const button = el("button", { type: "button", onclick: show }, t("data.show_text"));
    return [
      el("a.document", { href: `#/data/${encodeURIComponent(name)}/documents/${each.document}` }, el("span.path", { dir: "auto" }, where(each.file, each.line))),
      each.of && el("span.soft", { dir: "auto" }, t("data.like", { file: where(each.of.file, each.of.line), percent: Math.round(100 * each.similarity) })),
      (each.is_excluded || each.is_edited) && el("span.badge", {}, t(each.is_excluded ? "data.excluded" : "data.edited")),
      each.of ? null : button,
      text,
    ];
  }
}

function invitation(now, begin, { t }) {
  return [
    el("p", {}, t("data.audit_about")),
    now.message && el("p.problem", { role: "alert", dir: "auto" }, icon("alert"), said(t, now.message, now.notice)),
    el("div.row", {}, el("button.primary", { type: "button", onclick: begin }, t("data.audit"))),
  ];
}

/** The switch that replaces findings by placeholders. */
async function redaction(collection, studio, onChange) {
  const { api, t } = studio;
  const { redacts } = await api.get("data/changes", { name: collection.name, limit: 1 });
  const turn = tried(studio, async ({ target }) => {
    await api.post("data/redact", { name: collection.name, is_on: target.checked });
    onChange();
  });
  return el("label.redaction", {}, el("input", { type: "checkbox", checked: redacts, onchange: turn }), t("data.redact"));
}
