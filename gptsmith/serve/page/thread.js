/** The messages of a conversation on the page. */

import { el, fill, icon, iconButton, readablePercent, readableSeconds } from "./element.js";
import { alternatives, leastSure, legend, pieces, showShades, surprise } from "./shades.js";
import { openBeside, closeBeside, openMenu } from "./popup.js";
import { hasSources, sourcesOf } from "./sources.js";
import { AnswerView } from "./thoughts.js";
import { path, siblings } from "./tree.js";
import { t } from "./words.js";

const SHADES_EVERY_MS = 150;
/** How long nothing must have come of a text that has no end before it counts as broken off: another tab may write it. */
const QUIET_MS = 5000;
const MEASURABLE_S = 0.1;

/**
 * `on` has what a person does: step(node, by), copy(node), fits(node, text), edit(node, text), again(node), goOn(node), key(node),
 * choose(node, piece, alternative, isEnd), why(node, piece), create(); and more(node), which gives further {lines, buttons}.
 */
export class Thread {
  constructor(target, on) {
    Object.assign(this, { target, on, views: new Map(), isShaded: false });
  }

  /** Shows the selected messages. `writing` is the message that is being written, if there is one. */
  show(conversation, model, writing) {
    const kept = this.focused();
    const typing = this.target.contains(document.activeElement) && document.activeElement.closest(".editing textarea");
    Object.assign(this, { conversation, model, writing });
    const isText = conversation.mode === "text";
    const nodes = path(conversation);
    this.last = nodes.at(-1);
    const { views } = this;
    // What a person is about to write in a message stays.
    this.views = new Map(nodes.map((node) => [node.id, views.get(node.id)?.isEdited ? views.get(node.id) : this.made(node)]));
    const list = el(isText ? "div.document" : "div.messages", isText ? { dir: "auto" } : {}, [...this.views.values()].map(({ element }) => element));
    const below = isText && this.last ? el("div.below", { data: { id: this.last.id } }) : null;
    fill(this.target, this.isShaded && nodes.length ? legend() : null, list, below);
    if (below) this.views.get(this.last.id).tools = below;
    for (const node of nodes) this.update(node);
    if (kept) this.focus(kept.id, kept.action);
    if (typing) typing.focus({ preventScroll: true });
  }

  /** Says that a message is being written, or none: what can be done with the others changes, and their words stay. */
  setWriting(node) {
    const kept = this.focused();
    const before = this.writing;
    this.writing = node;
    for (const id of this.views.keys()) {
      const one = this.conversation.nodes[id];
      if (one === node || one === before) this.update(one);
      else if (!this.views.get(id).isEdited) fill(this.views.get(id).tools, this.parts(one));
    }
    if (kept) this.focus(kept.id, kept.action);
  }

  /** Shows what has come of a message; `wait` says what it waits for, if it is more than the next token. */
  update(node, wait = "") {
    const view = this.views.get(node.id);
    if (!view || view.isEdited) return;
    const isWriting = this.writing?.id === node.id;
    view.element.setAttribute("aria-busy", String(isWriting));
    this.words(view, node, isWriting, wait);
    if (isWriting !== view.wasWriting || !isWriting) fill(view.tools, this.parts(node));
    view.wasWriting = isWriting;
    const figures = view.tools.querySelector(".figures");
    if (figures) fill(figures, figuresOf(node, this.isShaded));
  }

  /** Puts the focus on what a message has for an action. */
  focus(id, action) {
    this.target.querySelector(`[data-id="${CSS.escape(id)}"] [data-action="${action}"]`)?.focus({ preventScroll: true });
  }

  focused() {
    const place = document.activeElement;
    const owner = this.target.contains(place) && place.dataset.action && place.closest("[data-id]");
    return owner ? { id: owner.dataset.id, action: place.dataset.action } : null;
  }

  made(node) {
    const isText = this.conversation.mode === "text";
    const words = el(isText ? "span.words" : "div.words", isText ? {} : { dir: "auto" });
    const tools = el(isText ? "span.tools" : "footer.tools", {});
    const name = this.author(node);
    const element = isText
      ? el(`span.part.${node.role}`, { data: { id: node.id } }, words, node !== this.last && this.more(node))
      : el(`article.message.${node.role}`, { data: { id: node.id }, "aria-label": name }, el("h2.author", {}, name), words, tools);
    return { element, words, tools, answer: null };
  }

  author(node) {
    return node.role === "user" ? t("chat.you") : node.figures?.model ?? this.model?.name ?? t("chat.a_model");
  }

  words(view, node, isWriting, wait) {
    const isPlain = node.role === "user" || this.conversation.mode === "text";
    if (isWriting && !node.text) {
      view.answer = null;
      fill(view.words, el("span.waiting", {}, wait || el("span.dots", { "aria-label": t("chat.generating") })));
    } else if (this.isShaded && node.tokens?.length) {
      const now = performance.now();
      if (isWriting && now - (view.shadedAt ?? 0) < SHADES_EVERY_MS) return;
      view.shadedAt = now;
      view.answer = null;
      view.words.classList.add("is-plain");
      showShades(view.words, node, (piece, button) => this.open(node, piece, button));
    } else if (isPlain) {
      view.words.classList.add("is-plain");
      fill(view.words, node.text);
    } else {
      if (!view.answer) {
        view.words.classList.remove("is-plain");
        fill(view.words);
        view.answer = new AnswerView(view.words);
      }
      view.answer.update(node.text);
    }
  }

  /** What stands under a message: why it ended, what can be done, figures. */
  parts(node) {
    if (this.writing?.id === node.id) return [el("span.figures", {})];
    const { lines, buttons } = this.on.more(node);
    return [this.ending(node), sourcesOf(node), lines, el("div.actions", {}, this.branches(node), this.buttons(node), buttons), node.role === "assistant" && el("span.figures", {})];
  }

  branches(node) {
    const { ids, index } = siblings(this.conversation, node.id);
    if (ids.length < 2) return null;
    const arrow = (name, label, by) =>
      iconButton(name, label, () => this.on.step(node, by), { disabled: Boolean(this.writing) || !ids[index + by], data: { action: name } });
    return el("span.branches", { role: "group", "aria-label": t("chat.version", { index: index + 1, count: ids.length }) },
      arrow("left", t("chat.previous"), -1), el("span", { "aria-hidden": "true" }, `${index + 1} / ${ids.length}`), arrow("right", t("chat.next"), 1));
  }

  buttons(node) {
    return this.entries(node).map(([name, label, action]) =>
      iconButton(name, label, action, { data: { action: name }, disabled: Boolean(this.writing) && name !== "copy" }));
  }

  entries(node) {
    const isAnswer = node.role === "assistant";
    const entries = [
      ["copy", t("chat.copy"), () => this.on.copy(node)],
      ["edit", t("chat.edit"), () => this.edit(node)],
    ];
    if (isAnswer) entries.push(["again", t("chat.again"), () => this.on.again(node)]);
    if (isAnswer && node.tokens?.length && !hasSources(node)) entries.push(["why", t("chat.why"), () => this.why(node)]);
    if (isAnswer && node === this.last && node.text && this.conversation.mode === "chat") entries.push(["go", t("chat.continue"), () => this.on.goOn(node)]);
    return entries;
  }

  /** The button of a part in the middle of a text. */
  more(node) {
    const { ids, index } = siblings(this.conversation, node.id);
    const button = iconButton("more", t("chat.more_part"), () => {
      if (this.writing) return;
      const steps = [[-1, "left", t("chat.previous")], [1, "right", t("chat.next")]]
        .filter(([by]) => ids[index + by])
        .map(([by, name, words]) => [icon(name), t("chat.version_of", { words, index: index + 1 + by, count: ids.length }), () => this.on.step(node, by)]);
      openMenu(button, t("chat.this_part"), [...this.entries(node).map(([name, words, action]) => [icon(name), words, action]), ...steps]);
    }, { data: { action: "more" }, "aria-haspopup": "dialog" });
    if (ids.length > 1) button.append(el("span", {}, `${index + 1} / ${ids.length}`));
    return button;
  }

  ending(node) {
    const { error, finish, figures = {} } = node;
    const told = [];
    if (node.note) told.push(el("p.soft", {}, node.note));
    if (figures.numForgotten) {
      const what = this.conversation.mode === "text" ? "chat.tokens_omitted" : "chat.messages_omitted";
      told.push(el("p.soft", {}, t(what, { count: figures.numForgotten, context: this.model.context_length })));
    }
    if (error) told.push(this.problem(node, error));
    else if (finish === "stopped") told.push(el("p.soft", {}, t("chat.stopped")));
    else if (finish && !node.text) told.push(el("p.soft", {}, t("chat.empty")));
    else if (finish === "length") told.push(el("p.soft", {}, t(isFull(node, this.model) ? "chat.full" : "chat.maximum")));
    else if (finish === "content_filter") told.push(el("p.soft", {}, t("chat.recital")));
    else if (!finish && figures.model && Date.now() - (node.changed ?? 0) > QUIET_MS) told.push(el("p.soft", {}, t("chat.interrupted")));
    return told;
  }

  problem(node, { kind, message }) {
    const act = (words, action, name = "") => el(`button${name}`, { type: "button", onclick: action, data: { action: words } }, words);
    const actions = {
      key: [act(t("chat.enter_key"), () => this.on.key(node), ".primary")],
      full: [act(t("chat.edit_message"), () => this.edit(this.conversation.nodes[node.parent] ?? node), ".primary"), act(t("chat.new"), () => this.on.create())],
    }[kind] ?? [act(t(node.text ? "chat.continue" : "chat.try_again"), () => this.on.goOn(node), ".primary")];
    return el("div.notice", { role: "alert" }, icon("alert"), el("p", {}, message), el("div.notice-buttons", {}, actions));
  }

  /** Lets a person change a message; what comes of it is another version. */
  edit(node) {
    const view = this.views.get(node.id);
    if (!view || this.writing) return;
    view.isEdited = true;
    const box = el("textarea", { value: node.text, dir: "auto", "aria-label": t("chat.the_message"), rows: Math.min(16, node.text.split("\n").length + 1) });
    const end = () => {
      view.isEdited = false;
      this.show(this.conversation, this.model, this.writing);
    };
    const take = async () => {
      const text = box.value.toWellFormed();
      if (!(await this.on.fits(node, text))) return;
      end();
      this.on.edit(node, text);
    };
    const isAsked = node.role === "user" && this.conversation.mode === "chat";
    const cancel = () => { end(); this.focus(node.id, "edit"); };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") cancel();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) take();
      else return;
      event.stopPropagation();
      event.preventDefault();
    });
    fill(view.words, el("div.editing", {}, box, el("div.dialog-buttons", {},
      el("button", { type: "button", onclick: cancel }, t("chat.cancel")),
      el("button.primary", { type: "button", onclick: take }, t(isAsked ? "chat.send" : "chat.keep")))));
    view.words.onclick = view.words.onkeydown = null;
    fill(view.tools);
    box.focus();
  }

  open(node, piece, button) {
    if (this.writing) return;
    const rows = alternatives(node, piece, this.model.end_tokens ?? [], (one, isEnd) => {
      closeBeside();
      this.on.choose(node, piece, one, isEnd);
    });
    const why = el("button.why", { type: "button", onclick: () => { closeBeside(true); this.on.why(node, piece); } }, icon("why"), t("chat.why_word"));
    openBeside(button, t("chat.alternatives"), [rows, !hasSources(node) && why]);
  }

  /** Explains the word that the model was least sure of; any other is a click away. */
  why(node) {
    this.on.why(node, leastSure(node));
  }

  /** Marks the word that is explained, or none. */
  mark(node, piece) {
    for (const one of this.target.querySelectorAll(".token.is-explained")) one.classList.remove("is-explained");
    const number = node ? pieces(node).findIndex(({ start }) => start === piece.start) : -1;
    this.views.get(node?.id)?.words.querySelector(`.token[data-number="${number}"]`)?.classList.add("is-explained");
  }
}

const isFull = (node, model) => node.figures?.used >= model.context_length;

function figuresOf(node, isShaded) {
  const { tokens, seconds, firstTokenS } = node.figures ?? {};
  if (!tokens) return [];
  const told = [t("chat.num_tokens", { count: tokens })];
  if (tokens > 1 && seconds > MEASURABLE_S) told.push(t("chat.per_second", { rate: String(Number(((tokens - 1) / seconds).toPrecision(3))) }));
  told.push(t("chat.first_after", { time: readableSeconds(firstTokenS) }));
  const known = isShaded ? surprise(node) : null;
  if (known) told.push(t("chat.bits", { bits: known.bits.toFixed(2), percent: readablePercent(2 ** -known.bits) }));
  return told.join(" · ");
}
