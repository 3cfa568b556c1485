/** Train: how long, on what, from which model; the plan and honest advice before it starts. */

import { el, fill, icon, setText } from "../element.js";
import { Api, paused } from "./api.js";
import { tried } from "./dialogs.js";
import { beginIn } from "./in_place.js";
import { ACTIVE } from "./jobs_list.js";
import { readableMinutes } from "./minutes.js";
import { inTheseWords } from "./said.js";
import { keepWish, readWish, STOPS, stopOf, typedMinutes } from "./train_address.js";
import { choiceForm } from "./train_choice.js";
import { showAdvice, showPlan } from "./train_plan.js";
import { showSettings } from "./train_settings.js";

/** How long a person is at rest before the exact plan is made, and how often it is asked for. */
const REST_MS = 500, AGAIN_MS = 500;
const KEPT_OPTIONS = ["seed", "private", "redact"];

export async function show(place, studio) {
  const { t } = studio;
  const wish = readWish();
  const chooseBase = tried(studio, takeBase);
  const choice = choiceForm(wish, t, {
    data: (name) => { Object.assign(wish, { data: name, part: null }); choice.showParts([], null); showChoice(); changed(); },
    part: (part) => { wish.part = part; changed(); },
    base: chooseBase,
    name: (name) => { wish.name = name; keepWish(wish); },
  });
  const parts = { choice, time: el("section.card"), plan: el("section.card", { "aria-label": t("train.plan") }), advice: el("section.card"), settings: el("details.card", {}, el("summary", {}, el("h2", {}, t("train.settings")))), start: el("div.row") };
  const planner = new Planner(studio, wish, parts, chooseBase, (known) => { showStart(); if (known.data) choice.showParts(known.data.parts, known.data.part); });
  fill(place, el("h1", {}, t("train.title")), Object.values(parts));

  function changed() {
    keepWish(wish);
    planner.changed();
    showStart();
  }

  async function takeBase(id) {
    const wasNew = wish.base === null;
    wish.base = id;
    wish.part = null;
    if (wasNew !== (id === null)) {
      for (const name of Object.keys(wish.options)) if (!KEPT_OPTIONS.includes(name)) delete wish.options[name];
    }
    showChoice();
    await showAllSettings();
    changed();
  }

  let collections = null, models = null;
  /** Other views name a run by its name alone. */
  function byId() {
    const run = models.find((one) => one.place === "runs" && one.name === wish.base);
    if (run) wish.base = run.id;
  }

  function showChoice() {
    choice.show(collections, models);
  }

  async function showAllSettings() {
    const verb = wish.base === null ? "pretrain" : "finetune";
    const isNewest = beginIn(parts.settings);
    const offered = await studio.api.get(`train/settings/${verb}`);
    if (!isNewest()) return;
    for (const path of Object.keys(wish.settings)) if (!offered.settings.some((one) => one.path === path)) delete wish.settings[path];
    const isOpen = parts.settings.open || Object.keys(wish.settings).length > 0;
    const inside = el("div.inside");
    fill(parts.settings, el("summary", {}, el("h2", {}, t("train.settings"))), inside);
    parts.settings.open = isOpen;
    showSettings(inside, offered, wish, t, changed);
  }

  const start = el("button.primary", { type: "button", onclick: begin }, t("train.start"));
  const before = el("span.soft", { id: "before-start" });
  start.setAttribute("aria-describedby", before.id);
  const trouble = el("p.trouble", { role: "alert", hidden: true });
  fill(parts.start, start, before, trouble);

  function showStart() {
    start.disabled = isStarting || !wish.data || planner.hasFailed;
    setText(before, !wish.data ? t("train.choose_data") : planner.hasFailed ? t("train.no_start") : waiting(queue, t));
  }

  let isStarting = false;

  async function begin() {
    isStarting = true;
    trouble.hidden = true;
    showStart();
    try {
      const { run } = await studio.api.post("train", { ...sent(wish), name: wish.name });
      studio.speak(t("train.started", { name: run }));
      studio.go("runs", run);
    } catch (error) {
      if (studio.signal.aborted) return;
      isStarting = false;
      fill(trouble, icon("alert"), inTheseWords(t, error.message));
      trouble.hidden = false;
      showStart();
    }
  }

  let queue = [];
  showChoice();
  showTime(parts.time, wish, t, changed);
  showStart();
  keepWish(wish);
  planner.changed();
  await Promise.all([
    studio.api.get("data").then(({ collections: found }) => { collections = found; showChoice(); }),
    studio.api.get("train/models").then(({ models: found }) => { models = found; planner.modelsAreKnown = true; byId(); showChoice(); planner.changed(); }),
    studio.api.get("jobs").then(({ jobs }) => { queue = jobs; showStart(); }),
    showAllSettings(),
  ]);
}

/** What the server is told of a wish. */
const sent = ({ data, part, base, minutes, options, settings }) => ({ data, minutes, options, settings, ...(part !== null && { part }), ...(base !== null && { base }) });

/** How many trainings come first. */
function waiting(jobs, t) {
  const before = jobs.filter((job) => job.lane === "train" && ACTIVE.includes(job.state)).length;
  return before ? t("train.after", { count: before }) : t("train.at_once");
}

/** The dial: a slider with sensible stops, and a time as it is typed. */
function showTime(place, wish, t, onChange) {
  const words = el("output", { htmlFor: "train-slider" });
  const slider = el("input", { type: "range", id: "train-slider", min: 0, max: STOPS.length - 1, step: 1, value: stopOf(wish.minutes), "aria-label": t("train.how_long"), oninput: () => set(STOPS[slider.value]) });
  const typed = el("input.minutes", { "aria-label": t("train.typed"), autocomplete: "off", onchange: () => set(typedMinutes(typed.value) ?? wish.minutes) });
  function set(minutes) {
    wish.minutes = minutes;
    shown();
    onChange();
  }
  function shown() {
    words.textContent = readableMinutes(wish.minutes, t);
    typed.value = words.textContent;
    slider.value = stopOf(wish.minutes);
    slider.setAttribute("aria-valuetext", words.textContent);
  }
  shown();
  fill(place, el("div.row", {}, el("h2", {}, t("train.how_long")), el("span.space"), typed), slider,
    el("div.row.soft", {}, readableMinutes(STOPS[0], t), el("span.space"), readableMinutes(STOPS.at(-1), t)));
}

/** Asks how a training will be: what is known at once, and once the person rests the exact plan. */
class Planner {
  /** `onOutcome(known)` is called when a plan has come, or has failed. */
  constructor({ api, t, signal }, wish, parts, onBase, onOutcome) {
    Object.assign(this, { api, t, signal, wish, parts, onBase, onOutcome, turn: 0, job: null, modelsAreKnown: false, hasFailed: false });
    signal.addEventListener("abort", () => this.drop(this.job));
  }

  changed() {
    this.ask(++this.turn);
  }

  trouble(error) {
    this.shown({ state: "failed", problem: error.message, figures: {}, advice: [] });
  }

  shown(known) {
    this.job = known.job ?? null;
    this.hasFailed = known.state === "failed";
    this.onOutcome(known);
    const news = JSON.stringify([known, this.modelsAreKnown]);
    if (news === this.known) return;
    this.known = news;
    showPlan(this.parts.plan, known, this.t, { onStop: () => this.stop(), onAgain: () => this.changed() });
    // To fetch a model is no advice while those on this machine are still looked for.
    const advice = known.advice.filter(({ code }) => this.modelsAreKnown || !code.startsWith("get_for_"));
    this.parts.advice.hidden = advice.length === 0;
    showAdvice(this.parts.advice, advice, this.t, this.onBase);
  }

  /** Ends the job of a plan that nobody waits for, also when the view is left. */
  async drop(job) {
    if (job) await new Api().post("jobs/cancel", { id: job }).catch(() => {});
  }

  /** Is content with the guess. */
  async stop() {
    this.turn += 1;
    await this.drop(this.job);
    await this.post(false, null);
  }

  async ask(turn) {
    if (!this.wish.data) return this.shown({ state: "nothing", figures: {}, advice: [] });
    const left = this.job;
    if (!await this.post(false, left, turn)) return;
    await paused(REST_MS, this.signal);
    while (turn === this.turn && !this.signal.aborted && await this.post(true, null, turn)) await paused(AGAIN_MS, this.signal);
  }

  /** Asks once; whether there is more to come. */
  async post(isExact, insteadOf, turn = this.turn) {
    try {
      const known = await this.api.post("train/plan", { ...sent(this.wish), is_exact: isExact, ...(insteadOf && { instead_of: insteadOf }) });
      if (turn !== this.turn || this.signal.aborted) {
        if (isExact && known.state === "planning") this.drop(known.job);
        return false;
      }
      this.shown(known);
      return known.state === "guessed" || known.state === "planning";
    } catch (error) {
      if (turn !== this.turn || this.signal.aborted) return false;
      if (error.kind === "key") throw error;
      this.trouble(error);
      return error.kind === "gone";
    }
  }
}
