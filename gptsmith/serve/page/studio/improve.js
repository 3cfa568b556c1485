/** Improve: which models have marks to learn from, and what came of earlier ones. */

import { el, fill, setText } from "../element.js";
import { paused } from "./api.js";
import { tried } from "./dialogs.js";
import { duration } from "./figures.js";
import { showImprovement } from "./improve_one.js";
import { recipeWords, stateWords } from "./improve_words.js";
import { said } from "./said.js";

const AGAIN_MS = 3000, PLAN_AGAIN_MS = 1000;

export async function show(place, studio) {
  if (studio.about[0]) await showImprovement(place, studio);
  else await showOverview(place, studio);
}

async function showOverview(place, studio) {
  const { api, t } = studio;
  const models = el("div.improve-models"), history = el("section");
  fill(place, el("h1", {}, t("improve.title")), el("p.soft", {}, t("improve.lead")), models, history);
  let known = "";
  await api.follow("improve", (news) => {
    const now = JSON.stringify(news);
    if (now === known) return;
    known = now;
    fill(models, news.models.length ? news.models.map((model) => card(model, studio)) : el("p.card", {}, t("improve.no_marks"), " ", el("a", { href: "#/talk" }, t("improve.to_talk"))));
    fill(history, news.improvements.length ? [el("h2", {}, t("improve.history")), table(news.improvements, t)] : null);
  }, { everyMs: AGAIN_MS });
}

function card(model, studio) {
  const { t } = studio;
  return el("section.card", { "aria-label": model.name },
    el("h2", { dir: "auto" }, model.name),
    el("p.soft", {}, marksWords(model.marks, t)),
    model.recipe ? el("p", {}, recipeWords(model.recipe, t)) : el("p", {}, t("improve.too_few", model.missing)),
    model.recipe && !model.open && planOf(model, studio),
    el("div.row", {}, action(model, studio)));
}

/** What it will take, before it is begun: a guess at once, then the plan. */
function planOf(model, studio) {
  const { api, t, signal } = studio;
  const place = el("p.improve-plan", { role: "status" });
  const follow = tried(studio, async () => {
    for (let isExact = false; !signal.aborted; isExact = true) {
      const known = await api.post("improve/plan", { model: model.name, is_exact: isExact });
      setText(place, planWords(known, t));
      place.classList.toggle("trouble", known.state === "failed");
      if (["planned", "failed"].includes(known.state) || (isExact && !place.isConnected)) return;
      if (isExact) await paused(PLAN_AGAIN_MS, signal);
    }
  });
  follow();
  return place;
}

function planWords({ state, seconds, problem, notice, num_examples: count, num_held_back: held }, t) {
  const marks = t("improve.plan_marks", { count, held });
  if (state === "failed") return `${marks} ${t("improve.plan_failed", { problem: said(t, problem, notice) })}`;
  const time = seconds ? t(state === "planned" ? "improve.plan_time" : "improve.plan_guess", { time: duration(t, seconds) }) : t("improve.plan_measuring");
  return `${marks} ${time}`;
}

function action(model, studio) {
  const { api, t, go } = studio;
  if (model.open) return el("a.button", { href: `#/improve/${model.open}` }, t("improve.go_on"));
  if (!model.recipe) return el("a.button", { href: "#/talk" }, t("improve.to_talk"));
  const begin = tried(studio, async () => {
    const { improvement } = await api.post("improve", { model: model.name });
    go("improve", improvement);
  });
  const button = el("button.primary", { type: "button", onclick: async () => {
    button.disabled = true;
    await begin();
    button.disabled = false;
  } }, t("improve.press"));
  return button;
}

function marksWords(marks, t) {
  const sorts = Object.entries(marks).filter(([, count]) => count).map(([sort, count]) => t(`improve.${sort}`, { count }));
  return sorts.join(" · ");
}

function table(improvements, t) {
  const head = ["improve.model", "improve.from", "improve.learnt", "improve.outcome"].map((name) => el("th", { scope: "col" }, t(name)));
  const rows = improvements.map((one) => el("tr", {},
    el("th", { scope: "row" }, el("a", { href: `#/improve/${one.id}`, dir: "auto" }, one.run), one.is_default && el("span.badge", {}, t("improve.used"))),
    el("td", { dir: "auto" }, one.model),
    el("td", {}, t(`improve.examples_${one.recipe.objective}`, { count: one.recipe.num_examples })),
    el("td", {}, stateWords(one, t))));
  return el("div.scroll", {}, el("table.improve-history", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}
