/** The plan of a training: its figures, how sure they are, and the advice. */

import { el, fill, icon, readableBytes, readableCount } from "../element.js";
import { readableMinutes } from "./minutes.js";
import { said } from "./said.js";

/** Shows what is known of a plan; `onStop` stops the job that makes it exact, and `onAgain` makes one that failed anew. */
export function showPlan(place, known, t, { onStop, onAgain }) {
  fill(place,
    el("div.row", {}, el("h2", {}, t("train.plan")), el("span.space"), el("span.soft", { role: "status" }, t(`train.state_${known.state}`)),
      known.state === "planning" && el("button", { type: "button", onclick: onStop }, t("train.stop_plan")),
      known.state === "failed" && el("button", { type: "button", onclick: onAgain }, t("train.plan_again"))),
    known.state === "planning" && el("progress", { "aria-label": t("train.state_planning") }),
    known.problem && el("p.trouble", { role: "alert" }, icon("alert"), said(t, known.problem, known.notice)),
    figures(known, t),
    (known.figures.advice ?? []).length > 0 && el("ul.plan-said", {}, known.figures.advice.map((line, place) => el("li.soft", { dir: "auto" }, said(t, line, known.figures.notices?.[place])))));
}

function figures({ figures: found, free_bytes: free, state }, t) {
  const about = state === "planned" ? "" : "≈ ";
  const rows = [
    ["time", found.seconds && `${about}${readableMinutes(found.seconds / 60, t)}`],
    ["memory", found.peak_memory_bytes && (free
      ? t("train.memory_of", { needed: `${about}${readableBytes(found.peak_memory_bytes)}`, free: readableBytes(free) })
      : `${about}${readableBytes(found.peak_memory_bytes)}`)],
    ["disk", found.disk_bytes && t("train.disk_of", { needed: readableBytes(found.disk_bytes), free: readableBytes(found.free_disk_bytes) })],
    ["parameters", found.num_parameters && `${about}${readableCount(rounded(found.num_parameters, state))}`],
    ["tokens", found.num_tokens && `${about}${readableCount(rounded(found.num_tokens, state))}`],
    ["passes", found.epochs && `${about}${Number(found.epochs.toPrecision(2))}`],
    ["bits", found.bits_per_byte && t("train.bits_between", { expected: found.bits_per_byte.toFixed(2), low: found.bits_per_byte_low.toFixed(2), high: found.bits_per_byte_high.toFixed(2) })],
    ["trained", found.num_trained_parameters && found.num_trained_parameters !== found.num_parameters && readableCount(found.num_trained_parameters)],
  ].filter(([, value]) => value);
  if (rows.length === 0) return ["guessed", "planning"].includes(state) && el("p.soft", {}, t("train.no_figures"));
  return el("dl.figures", {}, rows.map(([name, value]) => el("div", {}, el("dt.soft", {}, t(`train.figure_${name}`)), el("dd", {}, value))));
}

/** A guess has three figures, a plan all. */
const rounded = (count, state) => state === "planned" ? Math.round(count) : Number(Math.round(count).toPrecision(2));

/** The values of advice as people read them. */
const readable = (values, t) => Object.fromEntries(Object.entries(values).map(([name, value]) =>
  [name, name === "useful" || name === "minutes" ? readableMinutes(value, t) : value]));

/** Shows advice; `onBase(id)` begins with the model that it names. */
export function showAdvice(place, advice, t, onBase) {
  fill(place, el("h2", {}, t("train.advice")), el("ul.advice", {}, advice.map((one) =>
    el(`li.${one.tone}`, {}, el("p", { dir: "auto" }, one.tone !== "note" && el("strong", {}, t(`train.tone_${one.tone}`), " "), t(`train.advice_${one.code}`, readable(one.values, t)),
      one.is_guess && el("span.soft", {}, " ", t("train.guess"))),
    one.base !== null && el("button", { type: "button", onclick: () => onBase(one.base) }, t("train.begin_with"))))));
}
