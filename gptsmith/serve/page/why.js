/** The panel that explains a word: what is asked of the server one after the other, and where each answer is shown. */

import { el, fill, iconButton, readableSeconds } from "./element.js";
import { speak } from "./popup.js";
import { explain, ServerError, trace } from "./server.js";
import { spoken } from "./shades.js";
import { Question } from "./why_question.js";
import { contrasts, howSure, inside, ofYourWords, trust, yourTexts } from "./why_sections.js";
import { t } from "./words.js";

const WORDS = ["alternatives", "leave_one_out"];
const INSIDE = ["logit_lens", "direct_logit_attribution"];
const GRAINS = [["words", "why.word_by_word"], ["sentences", "why.by_sentence"]];
const CANCELLED = Symbol("cancelled");

/**
 * `on` has what a person does: close(), choose(node, piece, alternative, isEnd), remove(node, place) and
 * rewritten(node, text, note), each of which makes a branch.
 */
export class WhyPanel {
  constructor(target, on) {
    Object.assign(this, { target, on, by: "words" });
  }

  /** Whether it is open. */
  get isOpen() {
    return !this.target.hidden;
  }

  /** Explains a word of a message. Whatever it explained before is given up. */
  open(model, conversation, node, piece) {
    this.cancel();
    Object.assign(this, { model, node, piece, against: null, checks: [], claims: [], unfinished: [] });
    this.question = new Question(model, conversation, node, piece);
    this.places = {
      sure: el("div", {}), words: el("div", {}), contrast: el("div", {}), texts: el("div", {}), inside: el("div", {}), trust: el("div", {}),
    };
    const { sure, words, contrast, texts, trust: verdict } = this.places;
    fill(this.target,
      el("div.row", {}, el("h2", { dir: "auto" }, t("why.title", { word: spoken(piece.text) })), iconButton("close", t("why.close"), () => this.on.close())),
      section(t("why.how_sure"), sure),
      section(t("why.your_words"), words),
      section(t("why.why_not"), contrast),
      section(t("why.in_texts"), texts),
      section(t("why.inside"), this.places.inside),
      section(t("why.trust"), verdict));
    this.target.hidden = false;
    this.target.scrollTop = 0;
    fill(sure, howSure(node, piece, model.end_tokens ?? [], (one, isEnd) => this.on.choose(node, piece, one, isEnd)));
    fill(texts, el("p.soft", {}, t("why.after_words")));
    fill(this.places.inside, el("p.soft", {}, t("why.comes_last")));
    this.run("words", "texts", "inside");
  }

  /** Gives up what is being computed. */
  cancel() {
    this.controller?.abort(CANCELLED);
  }

  close() {
    this.cancel();
    this.target.hidden = true;
    fill(this.target);
  }

  /** Asks for these parts, one after the other, so that the server never computes two of them for one person. */
  async run(...parts) {
    this.cancel();
    this.unfinished = [...new Set([...this.unfinished, ...parts])];
    const controller = this.controller = new AbortController();
    const steps = { words: () => this.explainWords(controller), texts: () => this.traceTexts(controller), inside: () => this.explainInside(controller) };
    for (const part of Object.keys(steps).filter((name) => this.unfinished.includes(name))) {
      await steps[part]();
      if (controller.signal.aborted) return;
      this.unfinished = this.unfinished.filter((name) => name !== part);
    }
    speak(t("why.complete"));
  }

  explainWords(controller) {
    const { places, question, by } = this;
    const remove = (place) => this.on.remove(this.node, place);
    fill(places.trust, el("p.soft", {}, t("why.trust_later")));
    return this.work(controller, places.words, t("why.trying"), async (signal, onProgress) => {
      const found = await explain({ ...question.body, methods: WORDS, by, ...this.contrast }, signal, onProgress);
      this.take(found);
      fill(places.words, ofYourWords(found, question, remove), this.chooser());
      const hasFocus = places.contrast.contains(document.activeElement);
      fill(places.contrast, contrasts(found, (text) => { this.against = text; this.run("words", "inside"); }));
      if (hasFocus) places.contrast.querySelector("[aria-pressed=true]")?.focus();
      this.showTrust();
    }, this.chooser());
  }

  /** What is tried: word by word, or sentence by sentence. */
  chooser() {
    return el("div.by", { role: "radiogroup", "aria-label": t("why.tried") }, GRAINS.map(([name, label]) => el("label", {},
      el("input", { type: "radio", name: "by", value: name, checked: name === this.by, onchange: () => { this.by = name; this.run("words"); } }), t(label))));
  }

  traceTexts(controller) {
    const { places, question, model } = this;
    return this.work(controller, places.texts, t("why.looking"), async (signal) => {
      const found = await trace({ model: model.name, text: question.passage }, signal);
      fill(places.texts, yourTexts(found, question.placeInPassage, (source, box) => this.forget(source, box)));
    });
  }

  /** Says what becomes of the word once a copy of the model has forgotten a passage for one step. */
  forget({ run, place, num_tokens }, box) {
    return this.work(this.controller, box, t("why.forgetting"), async (signal) => {
      const { forgotten } = await trace({ ...this.question.body, forget: { run, place, num_tokens } }, signal);
      fill(box, el("p.says", {}, forgotten.says));
    });
  }

  explainInside(controller) {
    const { places, question } = this;
    return this.work(controller, places.inside, t("why.reading_layers"), async (signal, onProgress) => {
      const found = await explain({ ...question.body, methods: INSIDE, ...this.contrast }, signal, onProgress);
      this.take(found);
      fill(places.inside, inside(found, (item, box) => this.switchOff(item, box)));
      this.showTrust();
    });
  }

  /** Lets the model write on from the word without a part of its network. */
  switchOff(item, box) {
    const { question, node } = this;
    return this.work(this.controller, box, t("why.writing_without"), async (signal, onProgress) => {
      const { rewritten } = await explain({ ...question.body, methods: [], switch_off: [item.part] }, signal, onProgress);
      fill(box);
      this.on.rewritten(node, rewritten, t("why.rewritten", { word: spoken(this.piece.text), part: item.text }));
    });
  }

  get contrast() {
    return this.against === null ? {} : { against: this.against };
  }

  take({ claims = [], checks = [] }) {
    const kinds = new Set(claims.map(({ kind }) => kind));
    this.claims = [...this.claims.filter(({ kind }) => !kinds.has(kind)), ...claims];
    if (checks.length) this.checks = checks;
  }

  showTrust() {
    fill(this.places.trust, trust(this.claims, this.checks));
  }

  /**
   * Does `job` while `box` says what is computed and for how long. An error is a sentence there, with `below` under it and
   * a button to try again where that may help.
   */
  async work(controller, box, words, job, below = null) {
    const { signal } = controller;
    const started = performance.now();
    const hasFocus = box.contains(document.activeElement);
    const meter = el("progress", { max: 1, "aria-label": words });
    const time = el("span", {});
    const clock = setInterval(() => fill(time, `(${readableSeconds((performance.now() - started) / 1000)})`), 1000);
    box.setAttribute("aria-busy", "true");
    fill(box, el("div.computing", { role: "status" }, el("p.soft", {}, words, " ", time), meter));
    try {
      await job(signal, ({ done, total }) => { if (total) meter.value = done / total; });
    } catch (error) {
      if (signal.aborted) return;
      const told = error instanceof ServerError ? error.message : t("chat.page_failed", { problem: error.message });
      const again = () => this.work(this.controller, box, words, job, below);
      const isRefused = error.kind === "refused";
      fill(box, el(isRefused ? "p.says" : "p.problem", { role: "alert" }, told), below, !isRefused && el("button", { type: "button", onclick: again }, t("chat.try_again")));
    } finally {
      clearInterval(clock);
      box.removeAttribute("aria-busy");
      if (hasFocus) (box.querySelector(":checked") ?? box.querySelector("button"))?.focus();
    }
  }
}

const section = (title, box) => el("section", { "aria-label": title }, el("h3", {}, title), box);
