/** Two answers to one prompt, or two continuations of a text, side by side, until a person says which is better. */

import { copyText } from "../clipboard.js";
import { el, fill, icon } from "../element.js";
import { passing, speak } from "../popup.js";
import { Reply } from "../reply.js";
import { Thread } from "../thread.js";
import { addNode, newId, path, select } from "../tree.js";
import { better, otherOf } from "./talk_marks.js";
import { t } from "./words.js";

const ACTIONS = ["copy", "why", "go"];
const MAX_SPOKEN = 1000;

/** The pair of answers that waits for a verdict at the end of a conversation, or null. */
export function waitingPair(conversation) {
  const last = path(conversation).at(-1);
  if (!last || conversation.selected[last.id] !== null) return null;
  const one = last.children.map((id) => conversation.nodes[id]).findLast(({ duel }) => duel);
  const other = one && otherOf(conversation, one);
  return other ? (one.duel.isFirst ? [one, other] : [other, one]) : null;
}

/** Two empty answers to a message; `sides` are their {model, settings} in the order that they are shown in. */
export function newPair(conversation, parentId, sides, isBlind) {
  const pair = newId();
  const nodes = sides.map(({ model, settings }, number) => addNode(conversation, parentId, {
    role: "assistant", text: "", figures: { model }, duel: { pair, isFirst: number === 0, isBlind, settings },
  }));
  conversation.selected[parentId] = null;
  return nodes;
}

/** Shows just these buttons in `place`; the focus stays on the one in its place. */
function refill(place, ...buttons) {
  const number = [...place.children].indexOf(document.activeElement);
  fill(place, ...buttons);
  place.children[number]?.focus({ preventScroll: true });
}

/** One answer of two, in the thread of its own column. */
class Column extends Thread {
  author(node) {
    return node.duel.isBlind ? this.letter : super.author(node);
  }

  entries(node) {
    return super.entries(node).filter(([name]) => ACTIONS.includes(name) || (name === "again" && !node.text));
  }

  branches() {
    return null;
  }

  /** How fast it was would tell which model it is. */
  parts(node) {
    const parts = super.parts(node);
    return node.duel.isBlind ? parts.filter((part) => !part?.matches?.(".figures")) : parts;
  }

  open(node, piece) {
    if (!this.writing) this.on.why(node, piece);
  }
}

export class Duel {
  constructor(app, conversation, nodes, marks) {
    Object.assign(this, { app, conversation, nodes, marks, node: nodes[0], replies: new Map() });
    this.element = el("section.duel", { "aria-label": t("talk.two_answers") });
    this.foot = el("div.verdicts", { role: "group", "aria-label": t("talk.which") });
    this.columns = nodes.map((node, number) => this.column(node, "AB"[number]));
    fill(this.element, el("div.columns", {}, this.columns.map(({ element }) => element)), this.foot);
  }

  column(node, letter) {
    const place = el("div", {});
    const foot = el("div.column-foot", { data: { id: `${node.id}-foot` } });
    // The same conversation, with this answer at its end.
    const { conversation } = this;
    const whole = Object.assign(Object.create(conversation), { selected: { ...conversation.selected, [node.parent]: node.id, [node.id]: null }, settings: node.duel.settings });
    const alone = Object.assign(Object.create(conversation), { selected: { "": node.id, [node.id]: null } });
    const column = { node, letter, foot, whole, alone, element: el("div.column", {}, place, foot) };
    column.thread = new Column(place, {
      copy: () => copyText(node.text).then(() => passing(t("talk.copied")), (error) => passing(error.message)),
      why: (_, piece) => this.app.explain(node, piece, { model: this.modelOf(node), conversation: whole, thread: column.thread }),
      goOn: () => this.run([column]),
      again: () => this.run([column]),
      key: async () => { if (await this.app.askKey()) this.run([column]); },
      create: () => this.app.create(),
      more: () => ({}),
    });
    column.thread.letter = letter;
    return column;
  }

  modelOf(node) {
    return this.app.models.find(({ name }) => name === node.figures?.model);
  }

  get isText() {
    return this.conversation.mode === "text";
  }

  get isWriting() {
    return this.replies.size > 0;
  }

  /** Shows both as they are. */
  show() {
    for (const column of this.columns) {
      column.thread.isShaded = this.app.thread.isShaded;
      column.thread.show(column.alone, this.modelOf(column.node) ?? this.app.model, this.replies.get(column.node.id) && column.node);
      this.showFoot(column);
    }
    this.showVerdicts();
  }

  showFoot({ node, letter, foot }) {
    const reply = this.replies.get(node.id);
    const name = node.duel.isBlind ? letter : node.figures?.model;
    refill(foot, reply
      ? el("button", { type: "button", onclick: () => reply.stop(), "aria-label": t("talk.stop_one", { name }) }, icon("stop"), t("talk.stop"))
      : !this.isWriting && better(t(this.isText ? "talk.go_on_with" : "talk.better", { name }), () => this.choose(node === this.nodes[0] ? "first" : "second"),
        this.marks.verdictOf(node) === (node.duel.isFirst ? "first" : "second")));
  }

  showVerdicts() {
    if (this.isText) return fill(this.foot, el("p.soft", {}, t("talk.texts_kept")));
    const given = this.marks.verdictOf(this.node);
    return refill(this.foot, !this.isWriting && ["equal", "neither"].map((verdict) =>
      el("button", { type: "button", onclick: () => this.choose(verdict), "aria-pressed": String(given === verdict) }, t(`talk.${verdict}`))));
  }

  /** Lets the models of these columns write, at the same time. */
  async run(columns = this.columns) {
    const { app, conversation } = this;
    if (app.reply) return;
    const there = columns.filter(({ node }) => this.modelOf(node));
    for (const column of there) this.replies.set(column.node.id, new Reply(this.modelOf(column.node), column.whole, column.node, (wait) => this.grown(column, wait)));
    app.replies.set(conversation.id, this);
    const replies = [...this.replies.values()];
    const written = there.map(async (column) => {
      await this.replies.get(column.node.id).run();
      this.replies.delete(column.node.id);
      column.thread.setWriting(undefined);
      this.showFoot(column);
    });
    app.showThread();
    for (const column of there) this.grown(column);
    app.follow();
    app.library.keep(conversation);
    await Promise.all(written);
    app.replies.delete(conversation.id);
    await app.library.keep(conversation);
    if (replies.some(({ isLoading }) => isLoading)) await app.lookAgain();
    if (app.conversation === conversation) {
      app.showThread();
      app.follow();
      speak(this.columns.map(({ node, letter }) => `${letter}: ${node.text.slice(0, MAX_SPOKEN)}`).join(" "));
    }
    if (columns.some(({ node }) => node.error?.kind === "gone")) app.comeBack();
  }

  /** Ends both where they are. */
  stop() {
    for (const reply of this.replies.values()) reply.stop();
  }

  grown(column, seconds) {
    this.app.library.keepSoon(this.conversation);
    if (column.isAsked) return;
    column.isAsked = true;
    requestAnimationFrame(() => {
      column.isAsked = false;
      if (this.app.conversation !== this.conversation) return;
      const { isLoading, model } = this.replies.get(column.node.id) ?? {};
      const wait = seconds ? t("talk.busy", { seconds }) : isLoading ? t("talk.loading", { name: column.node.duel.isBlind ? column.letter : model.name }) : "";
      column.thread.update(column.node, wait);
      this.app.follow();
    });
  }

  /** Goes on with the better one, and keeps the verdict. */
  async choose(verdict) {
    const { app, conversation, nodes } = this;
    if (this.isWriting) return;
    this.marks.choose(conversation, nodes, verdict);
    select(conversation, nodes[verdict === "second" ? 1 : 0].id);
    conversation.updated = Date.now();
    app.showThread();
    document.getElementById("words").focus();
    await app.library.keep(conversation);
  }
}
