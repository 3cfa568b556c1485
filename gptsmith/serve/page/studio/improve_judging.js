/** Judging blind: one prompt with two answers without names, by buttons or by the keys 1, 2 and =. */

import { el, fill, setText } from "../element.js";
import { render } from "../markdown.js";
import { forget, keep, kept } from "../memory.js";
import { tried } from "./dialogs.js";

/** So few pairs have no rate yet. */
const FEW_PAIRS = 5;
const CHOICES = [["first", "1"], ["same", "="], ["second", "2"]];

/** The card of the pair that is judged. It changes only with the pair, so that nobody loses the place or a word. */
export class Judging {
  constructor(studio, place, onNews) {
    Object.assign(this, { studio, place, onNews });
    this.act = () => {};
    this.number = null;
    this.numJudged = 0;
    this.isBusy = this.isShown = false;
    const { t } = studio;
    this.pair = el("div.improve-pair", { tabIndex: -1 });
    this.buttons = CHOICES.map(([choice, key]) =>
      el("button", { type: "button", "aria-keyshortcuts": key, onclick: () => this.choose(choice) }, el("kbd", {}, key), t(`improve.choice_${choice}`)));
    this.progress = el("p.soft", { role: "status" });
    this.card = el("section.card", { "aria-label": t("improve.judge") }, el("h2", {}, t("improve.judge")), el("p.soft", {}, t("improve.judge_lead")),
      this.pair, el("div.row.improve-choices", {}, this.buttons), this.progress);
    this.prompts = el("details.card.improve-prompts");
    this.stop = el("div.row", {}, el("button", { type: "button", onclick: () => this.act("stop") }, t("improve.stop")));
    document.addEventListener("keydown", (event) => this.onKey(event), { signal: studio.signal });
  }

  update(news) {
    const { t } = this.studio;
    if (news.num_judged < this.numJudged) return; // asked before the last judgement, answered after it
    this.numJudged = news.num_judged;
    if (!this.isShown) {
      this.isShown = true;
      fill(this.place, this.card, this.stop, this.prompts);
      this.number = null;
      this.showPrompts();
    }
    const { pair } = news;
    if (pair ? pair.number !== this.number : this.number !== undefined) this.showPair(news);
    const hasPrompts = Object.values(news.num_prompts).some(Boolean);
    for (const button of this.buttons) button.disabled = !pair || this.isBusy;
    setText(this.trouble, news.trouble ?? (pair ? "" : t(hasPrompts ? "improve.writing" : "improve.no_prompts")));
    const judged = t("improve.judged", { count: news.num_judged });
    const more = news.num_more === null || news.num_judged < FEW_PAIRS ? t("improve.unclear") : t("improve.unclear_more", { count: news.num_more });
    setText(this.progress, news.num_judged ? `${judged} ${more}` : "");
    const { marks, examples, typed } = news.num_prompts;
    setText(this.promptCount, t("improve.prompts_count", { marks, examples, typed }));
    if (!hasPrompts) this.prompts.open = true;
  }

  leave() {
    this.isShown = false;
  }

  showPair({ pair }) {
    const { t, speak } = this.studio;
    this.number = pair?.number;
    this.pair.dataset.number = pair?.number ?? "";
    this.trouble = el("p.soft");
    if (!pair) {
      fill(this.pair, this.trouble);
      return;
    }
    const turns = pair.prompt.map(({ role, content }) => el("div.improve-turn", { data: { role } }, el("h3", {}, t(`improve.role_${role}`)), el("p.text", { dir: "auto" }, content)));
    const answers = [["first", "1"], ["second", "2"]].map(([which, key]) =>
      el("article", { "aria-label": t(`improve.answer_${which}`) }, el("h3", {}, el("kbd", {}, key), t(`improve.answer_${which}`)),
        el("div.improve-answer", { dir: "auto" }, pair[which].trim() ? render(pair[which]) : el("p.soft", {}, t("improve.empty_answer")))));
    fill(this.pair, turns, el("div.improve-answers", {}, answers), this.trouble);
    if (document.activeElement === document.body || this.card.contains(document.activeElement)) this.pair.focus({ preventScroll: true });
    speak(t("improve.next_pair"));
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, dialog")) return;
    const found = CHOICES.find(([, key]) => key === event.key);
    if (!found || !this.isShown) return;
    event.preventDefault();
    this.choose(found[0]);
  }

  async choose(choice) {
    if (this.isBusy || typeof this.number !== "number") return;
    this.isBusy = true;
    for (const button of this.buttons) button.disabled = true;
    const news = await tried(this.studio, () => this.studio.api.post("improve/judge", { improvement: this.studio.about[0], pair: this.number, choice }))();
    this.isBusy = false;
    for (const button of this.buttons) button.disabled = false;
    if (news) this.onNews(news);
  }

  showPrompts() {
    const { t, about, api, passing } = this.studio;
    const memory = `improve.prompts.${about[0]}`;
    const typed = el("textarea", { rows: 4, dir: "auto", "aria-label": t("improve.prompts_label"), value: kept("sessionStorage", memory) ?? "",
      oninput: () => keep("sessionStorage", memory, typed.value) });
    const add = tried(this.studio, async () => {
      const prompts = typed.value.split("\n").map((line) => line.trim()).filter(Boolean);
      if (!prompts.length) return;
      const news = await api.post("improve/prompts", { improvement: about[0], prompts });
      forget("sessionStorage", memory);
      typed.value = "";
      if (news.num_learnt) passing(t("improve.prompts_learnt", { count: news.num_learnt }));
      this.onNews(news);
    });
    this.promptCount = el("p.soft");
    fill(this.prompts, el("summary", {}, el("h2", {}, t("improve.prompts"))), this.promptCount, el("p", {}, t("improve.prompts_lead")), typed,
      el("div.row", {}, el("button", { type: "button", onclick: add }, t("improve.prompts_add"))));
  }
}
