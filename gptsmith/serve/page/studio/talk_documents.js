/** The collections that are searched while a person talks. */

import { el, fill, icon } from "../element.js";
import { keep, keptValue } from "../memory.js";
import { t } from "./words.js";

const KEPT = "documents";
const LOOK_EVERY_MS = 500;

export class TalkDocuments {
  /** `changed` is called when something can be sent that could not before, or the other way round. */
  constructor(api, changed) {
    Object.assign(this, { api, changed, collections: null, problem: "" });
    this.chosen = { isOn: false, names: [], ...keptValue("localStorage", KEPT) };
    this.choices = el("div.choices", {});
    this.standing = el("div.standing", {});
    this.strip = el("div.strip", { id: "documents-strip", role: "group", "aria-label": t("talk.documents") }, this.choices, this.standing);
    if (this.chosen.isOn) this.look();
  }

  /** The button of the bar; below the bar are the collections while it is pressed. */
  show(app) {
    const { isOn } = this.chosen;
    const canSearch = app.conversation.mode === "chat" && app.model.kind === "chat";
    if (!this.strip.isConnected) document.getElementById("bar").after(this.strip);
    this.strip.hidden = !isOn || !canSearch;
    if (!this.strip.contains(document.activeElement)) this.fillStrip();
    return canSearch && el("button.toggle", { type: "button", id: "documents", "aria-label": t("talk.documents"), "aria-pressed": String(isOn), title: t("talk.documents_help"), onclick: () => {
      this.set({ isOn: !isOn });
      app.showBar();
      document.getElementById("documents").focus();
      this.look();
    } }, icon("search"), el("span", {}, t("talk.documents")));
  }

  set(chosen) {
    Object.assign(this.chosen, chosen);
    keep("localStorage", KEPT, JSON.stringify(this.chosen));
  }

  /** Those that are chosen, as the studio knows them. */
  get wanted() {
    return this.chosen.isOn ? (this.collections ?? []).filter(({ name }) => this.chosen.names.includes(name)) : [];
  }

  get reading() {
    return this.wanted.filter(({ state }) => state === "reading");
  }

  /** Of a request for an answer, the field that says where its question is looked up. */
  fields() {
    const { isOn, names } = this.chosen;
    return isOn && names.length ? { collections: names } : {};
  }

  /** Why nothing can be sent now, or "". */
  waitsFor() {
    return this.reading.length ? this.progress() : "";
  }

  progress() {
    const { reading } = this;
    const fraction = reading.reduce((sum, one) => sum + one.fraction, 0) / reading.length;
    return t("talk.reading", { percent: Math.floor(100 * fraction) });
  }

  /** Asks the studio how the collections stand, has it read those that are chosen, and follows that to its end. */
  async look() {
    clearTimeout(this.timer);
    const number = this.numLooks = (this.numLooks ?? 0) + 1;
    try {
      let { collections } = await this.api.get("documents");
      const closed = collections.filter(({ name, state }) => this.chosen.isOn && state === "closed" && this.chosen.names.includes(name));
      if (closed.length) ({ collections } = await this.api.post("documents/open", { names: closed.map(({ name }) => name) }));
      if (number !== this.numLooks) return;
      Object.assign(this, { collections, problem: "" });
      const lost = (name) => !collections.some((one) => one.name === name && one.state !== "failed");
      if (this.chosen.names.some(lost)) this.set({ names: this.chosen.names.filter((name) => !lost(name)) });
    } catch (error) {
      if (number !== this.numLooks) return;
      this.problem = error.message;
    }
    this.fillStrip();
    this.changed();
    if (this.reading.length) this.timer = setTimeout(() => this.look(), LOOK_EVERY_MS);
  }

  /** Chooses a collection, or no longer. */
  async choose(name, isChosen) {
    const others = this.chosen.names.filter((one) => one !== name);
    this.set({ names: isChosen ? [...others, name] : others });
    // One that could not be read is tried again.
    if (isChosen) await this.api.post("documents/open", { names: [name] }).catch(() => {});
    await this.look();
  }

  /** Gives up what is still read. */
  async cancel() {
    const names = this.reading.map(({ name }) => name);
    this.set({ names: this.chosen.names.filter((name) => !names.includes(name)) });
    await Promise.all(names.map((name) => this.api.post("documents/cancel", { name }).catch(() => {})));
    await this.look();
    this.choices.querySelector("input")?.focus();
  }

  fillStrip() {
    const focused = document.activeElement?.dataset?.name;
    const had = this.strip.contains(document.activeElement);
    fill(this.choices, this.collections?.length ? el("span", {}, t("talk.search_in")) : this.collections && el("span", {}, t("talk.no_documents"), " ", el("a", { href: "./#/data" }, t("data.title"))),
      this.collections?.map(({ name, state, problem }) => [el("label", {},
        el("input", { type: "checkbox", checked: this.chosen.names.includes(name), data: { name }, onchange: ({ target }) => this.choose(name, target.checked) }),
        el("bdi", {}, name)), state === "failed" && el("span.wrong", { dir: "auto" }, problem)]));
    if (had && focused !== undefined) [...this.choices.querySelectorAll("input")].find(({ dataset }) => dataset.name === focused)?.focus();
    this.showStanding();
  }

  /** How far the reading is; its button stays the same, so that it keeps the focus. */
  showStanding() {
    if (!this.reading.length) return fill(this.standing, this.problem && el("p.wrong", { role: "alert" }, this.problem));
    const words = this.progress();
    if (this.standing.firstChild?.matches?.("span.reading")) this.standing.firstChild.textContent = words;
    else fill(this.standing, el("span.reading", {}, words), el("button", { type: "button", onclick: () => this.cancel() }, t("talk.cancel_reading")));
  }
}
