/** Marks on answers of the chat page: thumbs, edits, and the choice between two. */

import { el, icon, iconButton } from "../element.js";
import { passing } from "../popup.js";
import { MarksOutbox } from "./marks_outbox.js";
import { t } from "./words.js";

const THUMBS = [["up", "good"], ["down", "bad"]];

/** What was said before a message, as turns. */
export function promptOf(conversation, node) {
  const turns = [];
  for (let one = conversation.nodes[node.parent]; one; one = conversation.nodes[one.parent]) turns.unshift({ role: one.role, content: one.text });
  return conversation.system ? [{ role: "system", content: conversation.system }, ...turns] : turns;
}

/** The text that a continuation goes on from. */
const textBefore = (conversation, node) => promptOf({ ...conversation, system: "" }, node).map(({ content }) => content).join("");

/** An answer as a mark keeps it, with the passages of documents that it was given. */
export const answerOf = ({ text, figures, written, documents }) => ({
  model: figures.model, text, ...written,
  ...(documents?.sources.length && { sources: documents.sources.map(({ file, headings, text: passage }) => ({ file, headings, text: passage })) }),
});

/** The other answer of a pair; undefined where there is none. */
export function otherOf(conversation, { id, parent, duel }) {
  return duel && conversation.nodes[parent]?.children.map((other) => conversation.nodes[other]).find((other) => other.id !== id && other.duel?.pair === duel.pair);
}

const idOf = { thumb: ({ id }) => `t-${id}`, edit: ({ id }) => `e-${id}`, choice: ({ duel }) => `c-${duel.pair}` };

export class TalkMarks {
  /** `on` is that of the outbox, and has reopen(conversation, node), which shows a pair again. */
  constructor(api, on) {
    this.on = on;
    this.outbox = new MarksOutbox(api, on);
  }

  /** Asks about the marks of messages. */
  look(nodes) {
    const answers = nodes.filter(({ role }) => role === "assistant");
    this.outbox.lookNew(answers.flatMap((node) => [idOf.thumb(node), node.from && idOf.edit(node), node.duel && idOf.choice(node)].filter(Boolean)));
  }

  /** What stands below an answer: {lines, buttons}. */
  more(conversation, node) {
    if (conversation.mode !== "chat" || node.role !== "assistant" || !node.text) return {};
    if (node.from) return { lines: this.edit(conversation, node) };
    return { lines: node.duel && this.chosen(conversation, node), buttons: node.figures?.model && !node.note && this.thumbs(conversation, node) };
  }

  thumbs(conversation, node) {
    const id = idOf.thumb(node);
    const given = this.outbox.verdict(id);
    return THUMBS.map(([verdict, picture]) => iconButton(picture, t(`talk.${verdict}`), () => {
      if (given === verdict) this.outbox.takeBack(id);
      else this.outbox.give({ id, kind: "thumb", verdict, prompt: promptOf(conversation, node), answers: [answerOf(node)] });
    }, { "aria-pressed": String(given === verdict), data: { action: verdict }, class: "icon-button thumb" }));
  }

  edit(conversation, node) {
    const id = idOf.edit(node);
    const isKept = Boolean(this.outbox.verdict(id));
    const original = conversation.nodes[node.from];
    return this.line(t(isKept ? "talk.edit_kept" : "talk.edit_not_kept"), [isKept ? t("talk.take_back") : t("talk.keep_edit"), () => {
      if (isKept) this.outbox.takeBack(id);
      else this.edited(conversation, original, node);
    }]);
  }

  /** Keeps what a person wrote instead of an answer, with what the model had written. */
  edited(conversation, node, made) {
    const original = conversation.nodes[node.from] ?? node;
    if (!original.figures?.model) return;
    made.from = original.id;
    if (!made.text.trim() || made.text === original.text) return;
    this.outbox.give({
      id: idOf.edit(made), kind: "edit", verdict: "edited", prompt: promptOf(conversation, original), answers: [answerOf(original)], edited: made.text,
    });
  }

  /** Keeps which answer of a pair is better: "first", "second", "equal" or "neither"; of continuations the first two. */
  choose(conversation, nodes, verdict) {
    const isText = conversation.mode === "text";
    const prompt = isText ? [{ role: "text", content: textBefore(conversation, nodes[0]) }] : promptOf(conversation, nodes[0]);
    const id = idOf.choice(nodes[0]);
    this.outbox.give({ id, kind: isText ? "continuation" : "choice", verdict, prompt, answers: nodes.map(answerOf) });
    if (isText) passing(t("talk.text_kept"), t("talk.take_back"), () => this.outbox.takeBack(id));
  }

  verdictOf(node) {
    return this.outbox.verdict(idOf.choice(node));
  }

  chosen(conversation, node) {
    const other = otherOf(conversation, node);
    if (!other) return null;
    const verdict = this.verdictOf(node);
    const isBetter = verdict === (node.duel.isFirst ? "first" : "second");
    const names = { model: node.figures?.model, other: other.figures?.model };
    const words = { equal: "talk.was_equal", neither: "talk.was_neither" }[verdict] ?? (verdict ? isBetter ? "talk.was_better" : "talk.was_worse" : "talk.was_compared");
    return this.line(t(words, names),
      [t("talk.change"), () => this.on.reopen(conversation, node)],
      verdict && [t("talk.take_back"), () => this.outbox.takeBack(idOf.choice(node))]);
  }

  line(words, ...actions) {
    return el("p.soft.mark", {}, el("span", { dir: "auto" }, words), actions.filter(Boolean).map(([label, onclick]) =>
      el("button.link", { type: "button", onclick, data: { action: label } }, label)));
  }
}

/** The button of a column's answer. */
export const better = (label, onclick, isPressed) =>
  el("button.better", { type: "button", onclick, "aria-pressed": String(isPressed), data: { action: "better" } }, icon("good"), label);
