/** The first screen: what this model is, and something to try. */

import { el, icon, readableCount } from "./element.js";
import { extra } from "./extra.js";

/** What a model is, in a line. */
export function nature({ kind }) {
  return kind === "chat"
    ? "A chat model: ask it something."
    : "A base model: it continues your text, and was not trained to answer questions.";
}

const STATES = { unloaded: "loaded when it is first asked", loading: "being loaded", failed: "could not be loaded" };
const MODES = [["chat", "Answers"], ["text", "Continues text"]];

/**
 * The screen of a conversation in which nothing was said. `onTry(words)` is called with a prompt that a person takes,
 * `onMode(mode)` where a model that answers shall go on with text, or answer again.
 */
export function welcome(model, mode, onTry, onMode) {
  const made = new Date(model.made);
  const facts = [
    ["size", `${readableCount(model.num_parameters)} parameters`],
    ["context", `${model.context_length.toLocaleString("en")} tokens`],
    ["trained on", model.trained_on],
    ["created", made.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" })],
  ];
  if (model.state !== "loaded") facts.push(["state", STATES[model.state]]);
  const suited = mode === "text" && model.kind === "chat" ? "Text mode: it continues your text, without the chat template." : nature(model);
  const prompts = model.prompts.length ? el("div.tries", {},
    el("h2", {}, mode === "text" ? "Let it continue" : "Try"),
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
    el("p.soft", {}, extra.whereKept()));
}
