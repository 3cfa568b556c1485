/** Thoughts that a model writes before its answer, between <think> and </think>: folded. */

import { el, fill } from "./element.js";
import { MarkdownView } from "./markdown.js";
import { t } from "./words.js";

const THOUGHTS = /^\s*<think>([^]*?)(?:<\/think>\s*|$)/;

/** An answer as Markdown, below its thoughts if it has any. */
export class AnswerView {
  constructor(target) {
    this.summary = el("summary", {});
    const thoughts = el("div", {});
    this.details = el("details.thoughts", { hidden: true }, this.summary, thoughts);
    const answer = el("div.answer", {});
    fill(target, this.details, answer);
    this.thoughts = new MarkdownView(thoughts);
    this.answer = new MarkdownView(answer);
  }

  /** Shows the whole text so far. */
  update(text) {
    const [written, thoughts = ""] = THOUGHTS.exec(text) ?? [""];
    const hasThoughts = thoughts.trim() !== "";
    this.details.hidden = !hasThoughts;
    this.summary.textContent = !hasThoughts ? "" : t(written.includes("</think>") ? "chat.thoughts" : "chat.thinking");
    this.thoughts.update(thoughts.trim());
    this.answer.update(text.slice(written.length));
  }
}
