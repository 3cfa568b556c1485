/** Train: how long, on what, from which model; the plan and honest advice before it starts. */

import { el, fill, readableCount } from "../element.js";
import { Api, paused } from "./api.js";
import { keepWish, readWish, STOPS, stopOf, typedMinutes } from "./train_address.js";
import { readableMinutes, readableSize, showAdvice, showPlan } from "./train_plan.js";
import { showSettings } from "./train_settings.js";

/** How long a person is at rest before the exact plan is made, and how often it is asked for. */
const REST_MS = 500, AGAIN_MS = 500;
const KEPT_OPTIONS = ["seed", "private", "redact"];

export async function show(place, studio) {
  const { t } = studio;
  const wish = readWish();
  const parts = { choice: el("section.card"), time: el("section.card"), plan: el("section.card", { "aria-label": t("train.plan") }), advice: el("section.card"), settings: el("details.card", {}, el("summary", {}, el("h2", {}, t("train.settings")))), start: el("div.row") };
  const planner = new Planner(studio, wish, parts, (id) => chooseBase(id));
  fill(place, el("h1", {}, t("train.title")), Object.values(parts));

  function changed() {
    keepWish(wish);
    planner.changed();
    showStart();
  }

  async function chooseBase(id) {
    const wasNew = wish.base === null;
    wish.base = id;
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
    fill(parts.choice, ...choice(wish, collections, models, t, {
      onData: (name) => { wish.data = name; showChoice(); changed(); },
      onBase: chooseBase,
      onName: (name) => { wish.name = name; keepWish(wish); },
    }));
  }

  async function showAllSettings() {
    const verb = wish.base === null ? "pretrain" : "finetune";
    const offered = await studio.api.get(`train/settings/${verb}`);
    for (const path of Object.keys(wish.settings)) if (!offered.settings.some((one) => one.path === path)) delete wish.settings[path];
    const isOpen = parts.settings.open || Object.keys(wish.settings).length > 0;
    const inside = el("div.inside");
    fill(parts.settings, el("summary", {}, el("h2", {}, t("train.settings"))), inside);
    parts.settings.open = isOpen;
    showSettings(inside, offered, wish, t, changed);
  }

  function showStart() {
    const start = el("button.primary", { type: "button", disabled: !wish.data, onclick: () => begin(start) }, t("train.start"));
    fill(parts.start, start, el("span.soft", {}, wish.data ? waiting(queue, t) : t("train.choose_data")));
  }

  async function begin(button) {
    button.disabled = true;
    try {
      const { run } = await studio.api.post("train", { ...sent(wish), name: wish.name });
      studio.speak(t("train.started", { name: run }));
      studio.go("runs", run);
    } catch (error) {
      if (studio.signal.aborted) return;
      button.disabled = false;
      planner.trouble(error);
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
const sent = ({ data, base, minutes, options, settings }) => ({ data, minutes, options, settings, ...(base !== null && { base }) });

/** How many trainings come first. */
function waiting(jobs, t) {
  const before = jobs.filter((job) => job.lane === "train" && ["waiting", "running", "stopping"].includes(job.state)).length;
  return before ? t("train.after", { count: before }) : t("train.at_once");
}

/** What is learnt from, what training begins with, and what the run is called. */
function choice(wish, collections, models, t, { onData, onBase, onName }) {
  const known = (collections ?? []).some(({ name }) => name === wish.data);
  const data = el("select", { id: "train-data", onchange: ({ target }) => onData(target.value) },
    el("option", { value: "", selected: !wish.data }, t("train.choose")),
    (collections ?? []).map((one) => el("option", { value: one.name, selected: one.name === wish.data }, `${one.name} · ${readableSize(one.num_bytes)}`)),
    wish.data && !known && el("option", { value: wish.data, selected: true }, wish.data));
  const path = el("input", { id: "train-path", value: known ? "" : wish.data, placeholder: "texts/", dir: "auto", autocomplete: "off", spellcheck: false, onchange: ({ target }) => target.value.trim() && onData(target.value.trim()) });
  const usable = (models ?? []).filter((one) => !one.problem && one.kind !== "classifier");
  const group = (label, members) => members.length > 0 && el("optgroup", { label }, members.map((one) => el("option", { value: one.id, selected: one.id === wish.base }, described(one, t))));
  const base = el("select", { id: "train-base", onchange: ({ target }) => onBase(target.value || null) },
    el("option", { value: "", selected: wish.base === null }, t("train.nothing")),
    wish.base !== null && !usable.some((one) => one.id === wish.base) && el("option", { value: wish.base, selected: true }, wish.base),
    group(t("train.runs"), usable.filter((one) => one.place === "runs")),
    group(t("train.found"), usable.filter((one) => one.place !== "runs")));
  const broken = (models ?? []).filter((one) => one.problem);
  return [
    el("div.choices", {},
      el("label", { htmlFor: "train-data" }, t("train.learn_from"), data),
      el("label", { htmlFor: "train-path" }, t("train.or_path"), path),
      el("label", { htmlFor: "train-base" }, t("train.begin"), base),
      el("label", { htmlFor: "train-name" }, t("train.name"), el("input", { id: "train-name", value: wish.name, dir: "auto", maxLength: 80, placeholder: t("train.name_usual"), autocomplete: "off", onchange: ({ target }) => onName(target.value.trim()) }))),
    collections?.length === 0 && !wish.data && el("p.soft", {}, el("a", { href: "#/data" }, t("train.add_data"))),
    models === null && el("p.soft", { role: "status" }, t("train.looking")),
    broken.length > 0 && el("details", {}, el("summary.soft", {}, t("train.broken", { count: broken.length })),
      el("ul.plan-said", {}, broken.map((one) => el("li.soft", { dir: "auto" }, `${one.name}: ${one.problem}`)))),
  ];
}

/** A model in a line: name, size, licence. */
const described = ({ name, num_parameters: size, licence, kind }, t) => [name, readableCount(Number(size.toPrecision(3))), t(`train.kind_${kind}`), licence].filter(Boolean).join(" · ");

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
  constructor({ api, t, signal }, wish, parts, onBase) {
    Object.assign(this, { api, t, signal, wish, parts, onBase, turn: 0, job: null, modelsAreKnown: false });
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
    showPlan(this.parts.plan, known, this.t, () => this.stop());
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
