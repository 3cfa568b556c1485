/** What is learnt from, what training begins with, and what the run is called. */

import { el, fill, readableBytes, readableCount } from "../element.js";

/**
 * The fields of a training. They stay while `show(collections, models)` brings in what there is to choose (null while that is
 * not known), so that nobody loses the place or what is half typed. `showParts(parts, part)` offers the parts of a collection of
 * which there are several. `on` has data(name), part(kind), base(id) and name(name).
 */
export function choiceForm(wish, t, on) {
  const typed = { dir: "auto", autocomplete: "off", spellcheck: false };
  const data = el("select", { onchange: () => on.data(data.value) });
  const path = el("input", { ...typed, placeholder: "texts/", onchange: () => path.value.trim() && on.data(path.value.trim()) });
  const base = el("select", { onchange: () => on.base(base.value || null) });
  const name = el("input", { ...typed, value: wish.name, maxLength: 80, placeholder: t("train.name_usual"), onchange: () => on.name(name.value.trim()) });
  const part = el("select", { onchange: () => on.part(part.value) });
  const partLabel = el("label", { hidden: true }, t("train.part"), part);
  const notes = el("div", { hidden: true });
  const form = el("section.card", {},
    el("div.choices", {},
      el("label", {}, t("train.learn_from"), data), el("label", {}, t("train.or_path"), path), partLabel,
      el("label", {}, t("train.begin"), base), el("label", {}, t("train.name"), name)),
    notes);

  form.show = (collections, models) => {
    const isKnown = (collections ?? []).some((one) => one.name === wish.data);
    const usable = (models ?? []).filter((one) => !one.problem && one.kind !== "classifier");
    const group = (label, members) => members.length > 0 && el("optgroup", { label }, members.map((one) => option(one.id, described(one, t))));
    fillSelect(data, wish.data,
      option("", t("train.choose")),
      (collections ?? []).map((one) => option(one.name, `${one.name} · ${readableBytes(one.num_bytes)}`)),
      wish.data && !isKnown && option(wish.data, wish.data));
    fillSelect(base, wish.base ?? "",
      option("", t("train.nothing")),
      wish.base !== null && !usable.some((one) => one.id === wish.base) && option(wish.base, wish.base),
      group(t("train.runs"), usable.filter((one) => one.place === "runs")),
      group(t("train.found"), usable.filter((one) => one.place !== "runs")));
    if (document.activeElement !== path) path.value = isKnown || collections === null ? "" : wish.data;
    showNotes(notes, collections?.length === 0 && !wish.data, models, t);
  };
  form.showParts = (parts, chosen) => {
    partLabel.hidden = parts.length < 2;
    if (partLabel.hidden) return;
    const count = Object.fromEntries(parts.map((one) => [one.kind, one.num_documents]));
    const both = count.questions && count.chats ? [["conversations", count.questions + count.chats]] : [];
    fillSelect(part, chosen, option("all", t("data.part_all")),
      [...Object.entries(count), ...both].map(([kind, number]) => option(kind, partWords(t, kind, number))));
  };
  return form;
}

/** A part of a collection in words: "60 questions with answers". */
export const partWords = (t, kind, count) => t(`data.part_of_${kind}`, { count });

const option = (value, words) => el("option", { value }, words);

/** Fills a select with what there is to choose, and chooses. */
function fillSelect(select, value, ...options) {
  fill(select, options);
  select.value = value;
}

function showNotes(place, isEmpty, models, t) {
  const broken = (models ?? []).filter((one) => one.problem);
  fill(place,
    isEmpty && el("p.soft", {}, el("a", { href: "#/data" }, t("train.add_data"))),
    models === null && el("p.soft", { role: "status" }, t("train.looking")),
    broken.length > 0 && el("details", {}, el("summary.soft", {}, t("train.broken", { count: broken.length })),
      el("ul.plan-said", {}, broken.map((one) => el("li.soft", { dir: "auto" }, `${one.name}: ${one.problem}`)))));
  place.hidden = !place.childElementCount;
}

/** A model in a line: name, size, licence. */
const described = ({ name, num_parameters: size, licence, kind }, t) => [name, readableCount(Number(size.toPrecision(3))), t(`train.kind_${kind}`), licence].filter(Boolean).join(" · ");
