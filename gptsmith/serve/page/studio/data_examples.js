/** Examples as a model will see them. */

import { el, fill, icon } from "../element.js";
import { tried } from "./dialogs.js";
import { beginIn, refill } from "./in_place.js";
import { inTheseWords } from "./said.js";

const NUM_EXAMPLES = 20;

export async function showExamples(place, collection, studio, onChange, offset = 0) {
  const { api, t } = studio;
  const isNewest = beginIn(place);
  if (!place.childElementCount) fill(place, el("h2", {}, t("data.part_examples")), el("p.soft", {}, t("data.reading")));
  const { items, problem } = await api.get("data/examples", { name: collection.name, offset }).catch((error) => {
    if (error.kind !== "refused") throw error;
    return { items: [], problem: error.message };
  });
  if (!isNewest()) return;
  const turn = (by) => tried(studio, () => showExamples(place, collection, studio, onChange, offset + by));
  refill(place,
    el("h2", {}, t("data.part_examples")),
    problem ? [el("p.problem", { role: "alert", dir: "auto" }, icon("alert"), inTheseWords(t, problem))] : el("p.soft", {}, items.length ? t("data.examples_about") : t(offset ? "data.no_more_examples" : "data.no_examples")),
    el("ol.examples", {}, items.map((each) => el("li", {}, el("p.soft", { dir: "auto" }, each.place), example(each, studio)))),
    (offset > 0 || items.length === NUM_EXAMPLES) && el("div.row", {},
      el("button", { type: "button", disabled: offset === 0, onclick: turn(-NUM_EXAMPLES) }, t("data.before")),
      el("button", { type: "button", disabled: items.length < NUM_EXAMPLES, onclick: turn(NUM_EXAMPLES) }, t("data.after"))));
}

function example({ parts, fields, problem }, { t }) {
  if (problem) return el("p.problem", { dir: "auto" }, inTheseWords(t, problem));
  const values = Object.entries(fields).map(([name, value]) =>
    [el("dt", {}, name), el("dd.text", { dir: "auto" }, typeof value === "string" ? value : JSON.stringify(value))]);
  return [
    parts.length > 0 && el("pre.text", { dir: "auto" }, parts.map((part) => (part.is_trained ? el("mark", {}, part.text) : part.text))),
    values.length > 0 && el("dl.fields", {}, values),
  ];
}
