/** The first screen: what this model is, and something to try. */

import { el, icon, readableCount } from "./element.js";

/** What a model is, in a line. */
export function nature({ kind }) {
  return kind === "chat"
    ? "It was taught to answer: ask it something."
    : "It goes on with text: give it a beginning. It was not taught to answer questions.";
}

const MODES = [["chat", "Answers"], ["text", "Goes on with text"]];

/**
 * The screen of a conversation in which nothing was said. `onTry(words)` is called with a prompt that a person takes,
 * `onMode(mode)` where a model that answers shall go on with text, or answer again.
 */
export function welcome(model, mode, onTry, onMode) {
  const made = new Date(model.made);
  const facts = [
    ["size", `${readableCount(model.num_parameters)} parameters`],
    ["reads", `${model.context_length.toLocaleString("en")} tokens at once`],
    ["trained on", model.trained_on],
    ["made", made.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })],
  ];
  const suited = mode === "text" && model.kind === "chat" ? "As text: it goes on from what you write, without a conversation around it." : nature(model);
  const prompts = model.prompts.length ? el("div.tries", {},
    el("h2", {}, mode === "text" ? "Let it go on from" : "Try"),
    el("ul", {}, model.prompts.map((words) => el("li", {},
      el("button.try", { type: "button", onclick: () => onTry(words) }, el("span", {}, words), icon("go")))))) : null;
  const modes = model.kind === "chat" && el("div.modes", { role: "group", "aria-label": "What it does" },
    MODES.map(([name, words]) => el("button", { type: "button", "aria-pressed": String(name === mode), onclick: () => onMode(name) }, words)));
  return el("div.welcome", {},
    el("h1", {}, model.name),
    el("p.lead", {}, suited),
    modes,
    el("dl.facts", {}, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    prompts,
    el("p.soft", {}, "Conversations are kept in this browser and nowhere else."));
}
