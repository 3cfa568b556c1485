/** What a model is compared with: another one, or itself with other sampling. */

import { el, fill, icon } from "../element.js";
import { keep, keptValue } from "../memory.js";
import { usual } from "../sampling.js";
import { t } from "./words.js";

const KEPT = "compare";
const TEMPERATURE = { name: "temperature", off: 1, min: 0, max: 2, step: 0.05 };

/** The models that can write a second one: every one continues a text, those for conversations answer. */
const able = ({ models, conversation }) => models.filter(({ kind }) => conversation.mode === "text" || kind === "chat");

export class Compare {
  constructor() {
    this.chosen = { isOn: false, isBlind: true, ...keptValue("localStorage", KEPT) };
    this.strip = el("div.strip", { role: "group", "aria-label": t("talk.compare") });
  }

  /** The button of the bar; below the bar is what can be chosen while it is pressed. */
  show(app) {
    const { isOn } = this.chosen;
    const canCompare = app.conversation.mode === "text" || app.model.kind === "chat";
    document.getElementById("bar").after(this.strip);
    this.strip.hidden = !isOn || !canCompare;
    if (!this.strip.contains(document.activeElement)) this.fillStrip(app);
    return canCompare && el("button.toggle", { type: "button", id: "compare", "aria-label": t("talk.compare"), "aria-pressed": String(isOn), title: t(app.conversation.mode === "text" ? "talk.compare_texts_help" : "talk.compare_help"), onclick: () => {
      this.set({ isOn: !isOn });
      app.showBar();
      document.getElementById("compare").focus();
    } }, icon("columns"), el("span", {}, t("talk.compare")));
  }

  fillStrip(app) {
    const { temperature, isBlind } = this.chosen;
    const other = this.other(app);
    const { min, max, step } = TEMPERATURE;
    const hot = el("input.number", { type: "number", min, max, step, value: temperature ?? "", placeholder: String(app.conversation.settings.temperature ?? usual(other, TEMPERATURE)) });
    hot.addEventListener("input", () => {
      const value = Number(hot.value);
      this.set({ temperature: hot.value !== "" && value >= min && value <= max ? value : undefined });
    });
    fill(this.strip,
      el("label", {}, t("talk.with"), el("select", { onchange: ({ target }) => this.set({ model: target.value }) },
        able(app).map(({ name }) => el("option", { value: name, selected: name === other.name }, name)))),
      el("label", {}, t("talk.temperature"), hot),
      el("label", {}, el("input", { type: "checkbox", checked: isBlind, onchange: ({ target }) => this.set({ isBlind: target.checked }) }), t("talk.blind")));
  }

  set(chosen) {
    Object.assign(this.chosen, chosen);
    keep("localStorage", KEPT, JSON.stringify(this.chosen));
  }

  /** The model of the second answer: the chosen one, else another than the first, else the same. */
  other(app) {
    const models = able(app);
    return models.find(({ name }) => name === this.chosen.model) ?? models.find(({ name }) => name !== app.model.name) ?? app.model;
  }

  /** The two {model, settings} in the order that they are shown in, which is drawn where names are hidden. */
  sides(app) {
    const { model, conversation: { settings } } = app;
    const { temperature, isBlind } = this.chosen;
    const other = this.other(app);
    const changed = { ...settings, ...(temperature !== undefined && { temperature }) };
    // With one seed, a model would say the same twice.
    if (other.name === model.name && settings.seed !== undefined) changed.seed = settings.seed + 1;
    const sides = [{ model: model.name, settings: { ...settings } }, { model: other.name, settings: changed }];
    return isBlind && crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? sides.reverse() : sides;
  }
}
