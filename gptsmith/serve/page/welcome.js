/** The first screen: what this model is, and something to try. */

import { el, icon, readableCount } from "./element.js";
import { extra } from "./extra.js";
import { day, t } from "./words.js";

/** What a model is, in a line. */
export function nature({ kind }) {
  return t(kind === "chat" ? "chat.is_chat" : "chat.is_base");
}

const STATES = { unloaded: "chat.unloaded", loading: "chat.being_loaded", failed: "chat.load_failed" };
const MODES = [["chat", "chat.answers"], ["text", "chat.continues"]];

/**
 * The screen of a conversation in which nothing was said. `onTry(words)` is called with a prompt that a person takes,
 * `onMode(mode)` where a model that answers shall go on with text, or answer again.
 */
export function welcome(model, mode, onTry, onMode) {
  const made = new Date(model.made);
  const facts = [
    [t("chat.size"), t("chat.parameters", { count: readableCount(model.num_parameters) })],
    [t("chat.context"), t("chat.num_tokens", { count: model.context_length })],
    [t("chat.trained_on"), model.trained_on],
    [t("chat.created"), day(made)],
  ];
  if (model.state !== "loaded") facts.push([t("chat.state"), t(STATES[model.state])]);
  const suited = mode === "text" && model.kind === "chat" ? t("chat.text_mode") : nature(model);
  const prompts = model.prompts.length ? el("div.tries", {},
    el("h2", {}, t(mode === "text" ? "chat.let_continue" : "chat.try")),
    el("ul", {}, model.prompts.map((words) => el("li", {},
      el("button.try", { type: "button", onclick: () => onTry(words) }, el("span", {}, words), icon("go")))))) : null;
  const modes = model.kind === "chat" && el("div.modes", { role: "group", "aria-label": t("chat.what_it_does") },
    MODES.map(([name, words]) => el("button", { type: "button", "aria-pressed": String(name === mode), onclick: () => onMode(name) }, t(words))));
  return el("div.welcome", {},
    el("h1", {}, model.name),
    el("p.lead", {}, suited),
    modes,
    el("dl.facts", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    prompts,
    el("p.soft", {}, extra.whereKept()));
}
