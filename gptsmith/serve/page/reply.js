/** One text being written into a conversation: what is sent, what comes, and how it ends. */

import { fields, mostTokens } from "./sampling.js";
import { ServerError, tokenize, write } from "./server.js";
import { path } from "./tree.js";

const TOKENS_PER_TURN = 16;
const MAX_TRIES = 8;

/**
 * Writes on at the end of `node`, which may be empty or have text already.
 *
 * `onChange(wait)` is called whenever something came; `wait` is the seconds until the next try where the model is busy.
 */
export class Reply {
  constructor(model, conversation, node, onChange) {
    Object.assign(this, { model, conversation, node, onChange });
    this.controller = new AbortController();
  }

  /** Ends it where it is; what has come is kept. */
  stop() {
    this.controller.abort();
  }

  /** Resolves once the text has ended, well or not: `node.finish` or `node.error` says how. Never rejects. */
  async run() {
    const { node, model } = this;
    const goesOn = node.text !== "";
    delete node.error;
    delete node.finish;
    node.tokens ??= [];
    node.figures = { start: node.tokens.length ? node.figures?.start ?? 0 : node.text.length, model: model.name };
    this.askedAt = performance.now();
    try {
      const body = await this.body(goesOn);
      await this.patiently(() => this.take(body));
    } catch (error) {
      if (this.controller.signal.aborted) node.finish = "stopped";
      else if (error instanceof ServerError) node.error = { kind: error.kind, message: error.message };
      else throw error;
    } finally {
      this.measure();
      this.onChange();
    }
  }

  async take(body) {
    const { node, conversation, controller } = this;
    this.askedAt = performance.now();
    for await (const { text, tokens, finish, usage } of write(conversation.mode === "chat", body, controller.signal)) {
      if (text) node.text += text;
      if (tokens?.length) {
        this.firstAt ??= performance.now();
        this.numTokens = (this.numTokens ?? 0) + tokens.length;
        node.tokens.push(...tokens);
      }
      if (finish) node.finish = finish;
      if (usage) node.figures.promptTokens = usage.prompt_tokens;
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
    if (!this.firstAt) return;
    figures.tokens = this.numTokens;
    figures.firstTokenS = (this.firstAt - this.askedAt) / 1000;
    figures.seconds = (performance.now() - this.firstAt) / 1000;
  }

  async body(goesOn) {
    const { model, conversation } = this;
    const sent = { model: model.name, ...fields(model, conversation.mode, conversation.settings) };
    if (conversation.mode === "text") return { ...sent, prompt: await this.prompt() };
    const messages = await this.messages(goesOn);
    return { ...sent, messages, ...(goesOn && { continue_final_message: true }) };
  }

  before(goesOn) {
    const whole = path(this.conversation);
    const end = whole.findIndex(({ id }) => id === this.node.id);
    return whole.slice(0, goesOn ? end + 1 : end);
  }

  /** The text so far; where the context does not hold it, the tokens of its end. */
  async prompt() {
    const { model } = this;
    const whole = this.before(true).map(({ text }) => text).join("");
    const most = Math.min(mostTokens(model, "text", this.conversation.settings), model.context_length / 2);
    const room = Math.floor(model.context_length - most);
    if (byteLength(whole) < room) return whole;
    const ids = await tokenize({ model: model.name, prompt: whole });
    if (ids.length <= room) return whole;
    this.node.figures.numForgotten = ids.length - room;
    return ids.slice(-room);
  }

  /** The turns to answer: as many of the last ones as leave a quarter of the context for the answer. */
  async messages(goesOn) {
    const { model, conversation } = this;
    const system = conversation.system ? [{ role: "system", content: conversation.system }] : [];
    const turns = this.before(goesOn).map(({ role, text }) => ({ role, content: text }));
    const room = model.context_length - Math.min(mostTokens(model, "chat", conversation.settings) ?? Infinity, model.context_length / 4);
    const from = (start) => [...system, ...turns.slice(start)];
    const size = from(0).reduce((sum, { content }) => sum + byteLength(content) + TOKENS_PER_TURN, 0);
    if (size < room) return from(0);
    const fits = async (start) => (await tokenize({ model: model.name, messages: from(start) })).length <= room;
    const starts = turns.flatMap(({ role }, number) => (role === "user" ? [number] : []));
    let [low, high] = [0, starts.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (await fits(starts[middle])) high = middle;
      else low = middle + 1;
    }
    if (starts[low]) this.node.figures.numForgotten = starts[low];
    return from(starts[low] ?? 0);
  }
}

const byteLength = (text) => new TextEncoder().encode(text).length;

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
