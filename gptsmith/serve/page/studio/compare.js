/** What a model is compared with: another one, or itself with other sampling or another seed. */

import { el, fill, icon } from "../element.js";
import { keep, keptValue } from "../memory.js";
import { checkedSettings, NUMBERS, usual } from "../sampling.js";
import { t } from "./words.js";

const KEPT = "compare";
/** What the second one may have of its own. */
const OWN = [...NUMBERS.filter(({ name }) => ["temperature", "top_p"].includes(name)), { name: "seed", min: 0, step: 1 }];

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
    const { isBlind } = this.chosen;
    const other = this.other(app);
    fill(this.strip,
      el("label", {}, t("talk.with"), el("select", { onchange: ({ target }) => this.set({ model: target.value }) },
        able(app).map(({ name }) => el("option", { value: name, selected: name === other.name }, name)))),
      OWN.map((one) => el("label", {}, t(`talk.${one.name}`), this.field(one, app.conversation.settings[one.name] ?? usual(other, one)))),
      el("label", {}, el("input", { type: "checkbox", checked: isBlind, onchange: ({ target }) => this.set({ isBlind: target.checked }) }), t("talk.blind")));
  }

  /** The field of a setting; empty, it is as in the first one, which stands there as `usually`. */
  field({ name, min, max = "", step }, usually = t("talk.any_seed")) {
    const box = el("input.number", { type: "number", min, max, step, value: this.chosen[name] ?? "", placeholder: String(usually) });
    box.addEventListener("input", () => this.set({ [name]: box.value === "" ? undefined : checkedSettings({ [name]: Number(box.value) })[name] }));
    return box;
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
    const { isBlind } = this.chosen;
    const other = this.other(app);
    const own = checkedSettings(Object.fromEntries(OWN.map(({ name }) => [name, this.chosen[name]])));
    const changed = { ...settings, ...own };
    // With one seed, a model would say the same twice.
    if (other.name === model.name && settings.seed !== undefined && own.seed === undefined) changed.seed = settings.seed + 1;
    const sides = [{ model: model.name, settings: { ...settings } }, { model: other.name, settings: changed }];
    return isBlind && crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? sides.reverse() : sides;
  }
}
