/** One text being written into a conversation: what is sent, what comes, and how it ends. */

import { extra } from "./extra.js";
import { fields } from "./sampling.js";
import { ServerError, tokenize, write } from "./server.js";
import { path } from "./tree.js";
import { t } from "./words.js";

const MAX_TRIES = 8;
const COUNT_MS = 3000;

/**
 * Writes on at the end of `node`, which may be empty or have text already.
 *
 * `onChange(wait)` is called whenever something came; `wait` is the seconds until the next try where the model is busy.
 * `isLoading` says that the model has to be loaded first.
 */
export class Reply {
  constructor(model, conversation, node, onChange) {
    Object.assign(this, { model, conversation, node, onChange, isLoading: model.state !== "loaded" });
    this.controller = new AbortController();
  }

  /** Ends it where it is; what has come is kept. */
  stop() {
    this.controller.abort();
  }

  /** Resolves once the text has ended, well or not: `node.finish` or `node.error` says how. Never rejects. */
  async run() {
    const { node, model, controller } = this;
    const goesOn = node.text !== "";
    const { start, tokens = 0, seconds = 0 } = node.figures ?? {};
    delete node.error;
    delete node.finish;
    node.tokens ??= [];
    node.figures = { start: node.tokens.length ? start ?? 0 : node.text.length, model: model.name };
    node.written = { made: model.made, sampling: structuredClone(this.conversation.settings) };
    node.changed = Date.now();
    this.before = { tokens, seconds };
    try {
      const body = await this.body(goesOn);
      await this.patiently(() => this.take(body));
    } catch (error) {
      if (controller.signal.aborted) node.finish = "stopped";
      else if (error instanceof ServerError) node.error = { kind: error.kind, message: error.message };
      else node.error = { kind: "failed", message: t("chat.page_failed", { problem: error.message }) };
    }
    this.measure();
    if (this.firstAt && node.figures.used === undefined) await this.count();
    this.onChange();
  }

  async take(body) {
    const { node, conversation, controller } = this;
    this.askedAt = performance.now();
    for await (const { text, tokens, finish, usage, numOmitted, documents } of write(conversation.mode === "chat", body, controller.signal)) {
      if (numOmitted) node.figures.numForgotten = numOmitted;
      if (text) node.text += text;
      if (tokens?.length) {
        this.firstAt ??= performance.now();
        this.numTokens = (this.numTokens ?? 0) + tokens.length;
        node.tokens.push(...tokens);
      }
      if (finish) node.finish = finish;
      if (documents) node.documents = documents;
      if (usage) node.figures.used = usage.total_tokens;
      this.measure();
      this.onChange();
    }
  }

  /** What `work` does, tried again as long as the model is busy. */
  async patiently(work) {
    for (let numTries = 1; ; numTries += 1) {
      try {
        return await work();
      } catch (error) {
        if (error.kind !== "busy" || numTries === MAX_TRIES || this.firstAt) throw error;
        for (let seconds = error.retryAfterS + numTries - 1; seconds > 0; seconds -= 1) {
          this.onChange(seconds);
          await pause(1000, this.controller.signal);
        }
        this.onChange();
      }
    }
  }

  measure() {
    const { figures } = this.node;
    this.node.changed = Date.now();
    const { tokens, seconds } = this.before;
    if (!this.firstAt) return;
    figures.tokens = tokens + this.numTokens;
    figures.seconds = seconds + (performance.now() - this.firstAt) / 1000;
    figures.firstTokenS = (this.firstAt - this.askedAt) / 1000;
  }

  /** Asks how much of the context a text uses whose end did not say so. */
  async count() {
    const { model, node, conversation } = this;
    const whole = this.upTo(true);
    const asked = conversation.mode === "text" ? { prompt: whole.map(({ text }) => text).join("") } : { messages: this.turns(whole) };
    try {
      const ids = await tokenize({ model: model.name, ...asked }, AbortSignal.timeout(COUNT_MS));
      node.figures.used = Math.min(ids.length, model.context_length);
    } catch {
      // It is a figure for people only.
    }
  }

  async body(goesOn) {
    const { model, conversation } = this;
    const { settings, mode } = conversation;
    const bias = settings.bias?.length && (await this.bias(settings.bias));
    const sent = { model: model.name, truncation: "auto", ...fields(model, mode, settings), ...(bias && { logit_bias: bias }) };
    if (mode === "text") return { ...sent, prompt: this.upTo(true).map(({ text }) => text).join("") };
    return { ...sent, ...extra.fields(), messages: this.turns(this.upTo(goesOn)), ...(goesOn && { continue_final_message: true }) };
  }

  /** The tokens of this model that are to be likelier or less likely. */
  async bias(wanted) {
    const found = await Promise.all(wanted.map(({ words }) => this.tokens({ prompt: words, add_special_tokens: false })));
    return Object.fromEntries(wanted.flatMap(({ value }, number) => found[number].map((id) => [id, value])));
  }

  tokens(body) {
    return tokenize({ model: this.model.name, ...body }, this.controller.signal);
  }

  turns(nodes) {
    const { system } = this.conversation;
    return [...(system ? [{ role: "system", content: system }] : []), ...nodes.map(({ role, text }) => ({ role, content: text }))];
  }

  /** The messages before this one; with `goesOn`, this one too. */
  upTo(goesOn) {
    const whole = path(this.conversation);
    const end = whole.findIndex(({ id }) => id === this.node.id);
    return whole.slice(0, goesOn ? end + 1 : end);
  }
}

/** Resolves after some milliseconds, and rejects at once when the signal says so. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", end);
      resolve();
    }, milliseconds);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
  });
}
