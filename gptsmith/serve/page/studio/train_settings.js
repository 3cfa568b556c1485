/** The settings of a training: options that people use, and everything else by groups, with a search. */

import { el, fill } from "../element.js";

const SHOWN_AT_ONCE = 200;

/**
 * Fills `place` with what can be set. `wish` holds what was changed, and `onChange` is called after each change.
 */
export function showSettings(place, { settings, ...choices }, wish, t, onChange) {
  const search = el("input", { type: "search", placeholder: t("train.search"), "aria-label": t("train.search"), oninput: () => list() });
  const rows = el("div.settings");
  const count = el("p.soft", { role: "status" });

  function set(table, key, value) {
    if (value === "" || value === null) delete table[key];
    else table[key] = value;
    onChange();
    counted();
  }

  function counted() {
    const changed = Object.keys(wish.settings).length;
    count.textContent = changed ? t("train.changed", { count: changed }) : t("train.unchanged");
  }

  function list() {
    const wanted = search.value.trim().toLowerCase();
    const matches = settings.filter((one) => wanted
      ? `${one.path} ${one.meaning}`.toLowerCase().includes(wanted)
      : one.only === null || isKind(one.only));
    const groups = new Map();
    for (const one of matches.slice(0, SHOWN_AT_ONCE)) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
    fill(rows, [...groups].map(([name, members]) => el("details.group", { open: Boolean(wanted) || members.some((one) => one.path in wish.settings) },
      el("summary", {}, name, " ", el("span.soft", {}, String(members.length))),
      members.map((one) => row(one)))),
    matches.length === 0 && el("p.soft", {}, t("train.no_setting")));
  }

  /** Whether a setting's kind is the one that is chosen, or the usual one. */
  function isKind({ path, value }) {
    const usual = settings.find((one) => one.path === path)?.default;
    return (wish.settings[path] ?? usual) === value;
  }

  function row(one) {
    const change = (value) => {
      set(wish.settings, one.path, value);
      if (!one.path.endsWith(".kind")) return;
      list();
      document.getElementById(id)?.focus({ preventScroll: true });
    };
    const id = `set-${one.path}`;
    const name = one.path.slice(one.group.length + 1);
    return el("div.setting", {},
      el("label", { htmlFor: id }, name),
      control(one, id, wish.settings[one.path] ?? "", change, t),
      el("p.soft", { id: `${id}-meaning` }, one.meaning, " ", one.default !== null && t("train.default", { value: String(one.default) })));
  }

  counted();
  list();
  fill(place, options(wish, choices, t, (name, value) => set(wish.options, name, value)), el("h3", {}, t("train.all_settings")), count, search, rows);
}

/** The field of a setting; an empty one leaves it at its default. */
function control(one, id, value, change, t) {
  const described = { id, "aria-describedby": `${id}-meaning` };
  const choices = one.type === "boolean" ? ["true", "false"] : one.choices;
  if (choices) {
    return el("select", { ...described, onchange: ({ target }) => change(target.value) },
      el("option", { value: "" }, t("train.usual")),
      choices.map((choice) => el("option", { value: choice, selected: String(choice) === value }, String(choice))));
  }
  const bounds = [one.least ?? one.above, one.most ?? one.below].map((bound) => bound ?? "");
  const isNumber = one.type === "integer" || one.type === "number";
  const hint = one.default ?? (bounds.some((bound) => bound !== "") ? bounds.join(" … ") : "");
  return el("input", { ...described, value, inputMode: isNumber ? "decimal" : "text", placeholder: String(hint), autocomplete: "off", spellcheck: false, onchange: ({ target }) => change(target.value.trim()) });
}

/** The options that people use, of a new model or of a fine-tuning. */
function options(wish, { presets, tokenizers, objectives }, t, set) {
  const pick = (name, label, choices, usual) => el("label", {}, label,
    el("select", { onchange: ({ target }) => set(name, target.value) },
      el("option", { value: "" }, usual),
      choices.map(([value, words]) => el("option", { value, selected: wish.options[name] === value }, words))));
  const type = (name, label, placeholder, inputMode = "decimal") => el("label", {}, label,
    el("input", { value: wish.options[name] ?? "", placeholder, inputMode, autocomplete: "off", onchange: ({ target }) => set(name, target.value.trim()) }));
  const check = (name, label) => el("label.check", {},
    el("input", { type: "checkbox", checked: wish.options[name] === "true", onchange: ({ target }) => set(name, target.checked ? "true" : "") }), label);
  const own = wish.base === null
    ? [pick("preset", t("train.preset"), presets.filter((name) => name !== "smith").map((name) => [name, name]), t("train.preset_usual")),
      pick("tokenizer", t("train.tokenizer"), tokenizers.filter((name) => name !== "bpe").map((name) => [name, name]), "bpe")]
    : [pick("objective", t("train.objective"), objectives.map((name) => [name, t(`objective.${name}`)]), t("train.objective_usual")),
      pick("lora", t("train.weights"), [["8", t("train.lora")], ["32", t("train.lora_large")]], t("train.all_weights")),
      type("epochs", t("train.epochs"), t("train.usual")),
      type("me", t("train.me"), t("train.me_usual"), "text"),
      type("private", t("train.private"), t("train.off")),
      check("skip_bad", t("train.skip_bad"))];
  return el("div.options", {}, own, type("seed", t("train.seed"), "1"), check("redact", t("train.redact")),
    wish.base !== null && el("p.soft", {}, t("train.private_time")));
}
