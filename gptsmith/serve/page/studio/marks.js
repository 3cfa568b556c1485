/** Your marks: all that a person said about answers, to look through, take along and delete. */

import { el, fill, icon } from "../element.js";
import { confirmed, tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { save } from "./links.js";
import { pager } from "./pager.js";
import { moment, number } from "./words.js";

const KINDS = ["thumb", "edit", "choice", "continuation"];
const OBJECTIVES = ["sft", "dpo", "kto", "continuation"];
const PAGE = 50;
/** Longer texts are folded, in characters. */
const SHORT = 400;

export async function show(place, studio) {
  const { t, about, go } = studio;
  const [kind = "", model = "", from = "0"] = about;
  const offset = Number.parseInt(from, 10) || 0;
  const query = { ...(kind && { kind }), ...(model && { model }), offset, limit: PAGE };
  const isNewest = beginIn(place);
  const [counted, { marks, total }] = await Promise.all([studio.api.get("marks/counts"), studio.api.get("marks", query)]);
  if (!marks.length && offset) return go("marks", kind, model);
  if (!isNewest()) return undefined;
  const again = () => show(place, studio);
  return refill(place,
    el("div", {}, el("h1", {}, t("marks.title")), el("p.soft", {}, t("marks.about"))),
    counted.total ? [table(counted, studio), takeAlong(counted, studio)] : el("p", {}, t("marks.none"), " ", el("a", { href: "./talk" }, t("marks.to_talk"))),
    counted.total ? el("section.card", { "aria-label": t("marks.list") },
      filters(counted, kind, model, studio),
      el("ul.marks", {}, marks.map((mark) => entry(mark, studio, again))),
      !marks.length && el("p.soft", {}, t("marks.none_found")),
      pager(total, offset, (start) => go("marks", kind, model, String(start)), studio, PAGE)) : null,
    counted.total ? deletion(counted.total, studio, again) : null);
}

/** How many there are by model and kind, and what they suffice for. */
function table({ counts }, { api, t, signal, passing }) {
  const models = [...new Set(counts.map(({ model }) => model))];
  const count = (model, kind) => counts.filter((row) => row.model === model && row.kind === kind).reduce((sum, row) => sum + row.count, 0);
  const enough = new Map(models.map((model) => [model, el("td", {}, "–")]));
  showEnough(enough, api, t).catch((error) => { if (!signal.aborted) passing(error.message); });
  return el("section.card.scroll.by-model", { "aria-label": t("marks.by_model"), tabIndex: 0 }, el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, t("marks.model")), KINDS.map((kind) => el("th.number", { scope: "col" }, t(`marks.${kind}s`))), el("th", { scope: "col" }, t("marks.to_improve")))),
    el("tbody", {}, models.map((model) => el("tr", {},
      el("th.name", { scope: "row", dir: "auto" }, model), KINDS.map((kind) => el("td.number", {}, number(count(model, kind)))), enough.get(model))))));
}

/** Says of each model that can be improved whether it has marks enough. */
async function showEnough(places, api, t) {
  const { models } = await api.get("improve");
  for (const { name, recipe, missing } of models) {
    if (places.has(name)) fill(places.get(name), el("a", { href: "#/improve" }, recipe ? t("marks.enough") : t("marks.missing", missing)));
  }
}

/** Files of examples for training, here or elsewhere. */
function takeAlong({ examples }, studio) {
  const { api, t } = studio;
  const thumbs = el("input", { type: "checkbox" });
  const take = tried(studio, (objective) => {
    const more = objective === "sft" && thumbs.checked ? "&with_thumbs=yes" : "";
    return save(api, `marks/export?objective=${objective}${more}`, `marks-${objective}.jsonl`);
  });
  return el("section.card", { "aria-label": t("marks.take_along") },
    el("h2", {}, t("marks.take_along")), el("p.soft", {}, t("marks.take_along_about")),
    el("div.row", {}, OBJECTIVES.map((objective) => el("button", { type: "button", onclick: () => take(objective) }, icon("export"), t(`marks.${objective}`, { count: examples[objective] })))),
    el("label", {}, thumbs, t("marks.with_thumbs")));
}

function filters({ counts }, kind, model, { go, t }) {
  const models = [...new Set([...counts.map((row) => row.model), model].filter(Boolean))];
  const choice = (label, values, chosen, take) => el("label", {}, label, el("select", { onchange: ({ target: { value } }) => take(value) },
    values.map(([value, words]) => el("option", { value, selected: value === chosen }, words))));
  return el("div.row", {},
    choice(t("marks.kind"), [["", t("marks.all")], ...KINDS.map((one) => [one, t(`marks.${one}s`)])], kind, (value) => go("marks", value, model)),
    choice(t("marks.model"), [["", t("marks.all")], ...models.map((one) => [one, one])], model, (value) => go("marks", kind, value)));
}

function entry(mark, studio, again) {
  const { api, t } = studio;
  const { id, kind, verdict, prompt, answers, edited, at_ms: at } = mark;
  const begun = prompt.at(-1).content || t("marks.empty");
  const isChosen = (number) => ["choice", "continuation"].includes(kind) && verdict === ["first", "second"][number];
  const remove = tried(studio, async () => {
    await api.remove(`marks/${id}`);
    await again();
  });
  const said = (label, text, name = "") => el(`div.said${name}`, {}, el("h3", { dir: "auto" }, label), whole(text || t("marks.empty")));
  const words = isChosen(1) ? t("marks.verdict_first") : t(`marks.verdict_${verdict}`);
  return el("li", {},
    el("div.row", {}, el("strong", {}, words), el("time.soft", { dateTime: new Date(at).toISOString() }, moment(at)), el("span.space", {}),
      el("button", { type: "button", onclick: remove, "aria-label": t("marks.delete_one", { about: begun.slice(0, 60) }) }, icon("trash"), t("marks.delete"))),
    el("details", {}, el("summary", { dir: "auto" }, begun.slice(0, 300)),
      prompt.map(({ role, content }) => said(t(`marks.${role}`), content))),
    passages(answers, t),
    answers.map(({ model, text }, number) => said(isChosen(number) ? t("marks.chosen", { model }) : model, text, isChosen(number) ? ".is-chosen" : "")),
    edited !== null && said(t("marks.edited_by_you"), edited, ".is-chosen"));
}

/** What the models were given of documents, folded. */
function passages(answers, t) {
  const found = new Map(answers.flatMap(({ sources = [] }) => sources.map((source) => [`${source.file}\n${source.text}`, source])));
  return found.size > 0 && el("details", {}, el("summary", {}, t("marks.passages", { count: found.size })),
    [...found.values()].map(({ file, headings, text }) => el("div.said", {}, el("h3", { dir: "auto" }, [file, ...headings].join(" › ")), el("p.text", { dir: "auto" }, text))));
}

/** A text, folded where it is long. */
function whole(text) {
  const all = el("p.text", { dir: "auto" }, text);
  return text.length <= SHORT ? all : el("details", {}, el("summary", { dir: "auto" }, `${text.slice(0, SHORT)} …`), all);
}

/** Deletes all, when it was said twice. */
function deletion(total, studio, again) {
  const { api, t } = studio;
  const remove = tried(studio, async () => {
    if (!await confirmed(t("marks.sure", { count: total }), { button: t("marks.delete_for_good"), t })) return;
    await api.remove("marks");
    await again();
  });
  return el("div.row", {}, el("button", { type: "button", onclick: remove }, icon("trash"), t("marks.delete_all")));
}
