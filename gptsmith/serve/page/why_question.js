/** What is asked about a word, and where the server's places in a prompt lie in a conversation. */

import { path } from "./tree.js";
import { t } from "./words.js";

/** How much of an answer around a word is looked for in the texts, in characters to each side. */
const AROUND = 240;

/** A question about a word of an answer. `body` is what the server has to know of it. */
export class Question {
  constructor(model, conversation, node, piece) {
    const whole = path(conversation);
    this.before = whole.slice(0, whole.findIndex(({ id }) => id === node.id));
    this.system = conversation.mode === "chat" ? conversation.system : "";
    this.node = node;
    this.piece = piece;
    const { before, system } = this;
    this.body = {
      model: model.name,
      ...(conversation.mode === "text"
        ? { prompt: before.map(({ text }) => text).join("") }
        : { messages: [...(system ? [{ role: "system", content: system }] : []), ...before.map(({ role, text }) => ({ role, content: text }))] }),
      reply: node.text,
      start: numCharacters(node.text.slice(0, piece.start)),
    };
  }

  /** The texts that the model had read, in order: [{id, author, text}], where `id` is null for the system prompt. */
  get texts() {
    const read = this.before.map(({ id, role, text }) => ({ id, author: t(role === "user" ? "chat.you" : "why.the_model"), text }));
    return this.system ? [{ id: null, author: t("chat.system_prompt"), text: this.system }, ...read] : read;
  }

  /** Where something of the prompt stands: {id, start, stop, text}, in places of the text of one message; null if in none. */
  place({ message, start, stop }) {
    const { texts } = this;
    let [number, from, to] = [message ?? 0, start, stop];
    if (message === undefined || message === null) {
      while (number < texts.length && from >= numCharacters(texts[number].text)) {
        const length = numCharacters(texts[number].text);
        [number, from, to] = [number + 1, from - length, to - length];
      }
    }
    const one = texts[number];
    if (!one) return null;
    const [first, last] = [inUnits(one.text, from), inUnits(one.text, to)];
    return { id: one.id, number, start: first, stop: last, text: one.text.slice(first, last) };
  }

  /** The answer around the word: what is looked for in the texts that the model learnt from. */
  get passage() {
    const { node: { text }, piece: { start, text: word } } = this;
    return text.slice(Math.max(0, start - AROUND), start + word.length + AROUND).toWellFormed();
  }

  /** The place of the word in it. */
  get placeInPassage() {
    const { node: { text }, piece: { start } } = this;
    return numCharacters(text.slice(Math.max(0, start - AROUND), start));
  }
}

/** Characters as Python counts them: those beyond the first plane are one. */
const numCharacters = (text) => [...text].length;
const inUnits = (text, characters) => [...text].slice(0, characters).join("").length;

/** A text without what stands from `start` to `stop`, and without the space that would be left over. */
export function without(text, start, stop) {
  const [before, after] = [text.slice(0, start), text.slice(stop)];
  return /(^|\s)$/.test(before) ? before + after.replace(/^ /, "") : before + after;
}
