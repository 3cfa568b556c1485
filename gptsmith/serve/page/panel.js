/** The settings of a conversation: what the model is told first, and how tokens are drawn. */

import { el, fill, iconButton } from "./element.js";
import { MAX_STOPS, NUMBERS, usual } from "./sampling.js";
import { tokenize } from "./server.js";
import { language, LANGUAGES, t } from "./words.js";

const THEMES = [["", "chat.as_system"], ["light", "chat.light"], ["dark", "chat.dark"]];

/** Shows the panel for a conversation. `on` has change(), called once a setting of it has changed, close() and theme(name);
 *  and language(code), where this page chooses it. */
export function showPanel(target, model, conversation, theme, on) {
  const { settings, mode } = conversation;
  const onChange = on.change;
  const set = (name, value) => {
    if (value === undefined || value === null || value === "") delete settings[name];
    else settings[name] = value;
    onChange();
  };
  const reset = el("button.reset", {
    type: "button",
    onclick: () => {
      for (const name of Object.keys(settings)) delete settings[name];
      onChange();
      showPanel(target, model, conversation, theme, on);
      target.querySelector(".reset").focus();
    },
  }, t("chat.reset"));
  fill(target,
    el("div.row", {}, el("h2", {}, t("chat.settings")), iconButton("close", t("chat.close_settings"), on.close)),
    mode === "chat" && systemPrompt(conversation, onChange),
    el("h3", {}, t("chat.generation")),
    NUMBERS.map((field) => slider(field, model, settings, set)),
    longest(model, mode, settings, set),
    seed(settings, set),
    stops(settings, set),
    bias(model, settings, set),
    mode === "chat" && format(settings, set),
    reset,
    el("h3", {}, t("chat.this_page")),
    on.language && el("label.field", {}, t("chat.language"), el("select", { onchange: ({ target: { value } }) => on.language(value) },
      Object.entries(LANGUAGES).map(([code, { name }]) => el("option", { value: code, lang: code, selected: code === language() }, name)))),
    el("label.field", {}, t("chat.colours"), el("select", { onchange: ({ target: { value } }) => on.theme(value) },
      THEMES.map(([value, words]) => el("option", { value, selected: value === theme }, t(words))))));
}

function systemPrompt(conversation, onChange) {
  const box = el("textarea", { rows: 3, value: conversation.system, placeholder: t("chat.none") });
  box.addEventListener("input", () => {
    conversation.system = box.value;
    onChange();
  });
  return field(t("chat.system_prompt"), t("chat.system_help"), box);
}

function slider(spec, model, settings, set) {
  const { name, min, max, step } = spec;
  const [label, help] = [t(`chat.set.${name}`), t(`chat.help.${name}`)];
  const own = usual(model, spec);
  const shown = () => settings[name] ?? own;
  const range = el("input", { type: "range", min, max, step, value: shown(), "aria-label": label });
  const number = el("input.number", { type: "number", min, max, step, value: shown(), "aria-label": t("chat.as_number", { label }) });
  const undo = iconButton("again", t("chat.reset_to", { label, value: String(own) }), () => take(own));
  const take = (given) => {
    const value = Math.min(max, Math.max(min, Number(given)));
    if (Number.isNaN(value) || given === "") return;
    set(name, value === own ? undefined : value);
    range.value = shown();
    if (document.activeElement !== number) number.value = shown();
    undo.hidden = settings[name] === undefined;
  };
  range.addEventListener("input", () => take(range.value));
  number.addEventListener("input", () => take(number.value));
  number.addEventListener("blur", () => { number.value = shown(); });
  undo.hidden = settings[name] === undefined;
  return el("div.field.slider", { role: "group", "aria-label": label, title: help },
    el("div.row", {}, el("span", {}, label), undo, number), range, el("p.soft", {}, help));
}

function longest(model, mode, settings, set) {
  const most = model.max_tokens ?? model.context_length;
  const usualWords = t(mode === "text" ? "chat.usual_text" : "chat.usual_chat");
  const box = el("input", { type: "number", min: 1, max: most, step: 1, value: settings.max_tokens ?? "", placeholder: usualWords });
  box.addEventListener("input", () => set("max_tokens", whole(box.value, 1, most)));
  box.addEventListener("blur", () => { box.value = settings.max_tokens ?? ""; });
  return field(t("chat.max_tokens"), null, box);
}

function seed(settings, set) {
  const box = el("input", { type: "number", min: 0, step: 1, value: settings.seed ?? "", placeholder: t("chat.random") });
  box.addEventListener("input", () => set("seed", whole(box.value, 0, Number.MAX_SAFE_INTEGER)));
  box.addEventListener("blur", () => { box.value = settings.seed ?? ""; });
  return field(t("chat.seed"), t("chat.seed_help"), box);
}

function stops(settings, set) {
  const box = el("textarea", { rows: 2, value: (settings.stop ?? []).join("\n"), placeholder: t("chat.none") });
  box.addEventListener("input", () => {
    const lines = box.value.split("\n").filter(Boolean).slice(0, MAX_STOPS);
    set("stop", lines.length ? lines : undefined);
  });
  return field(t("chat.stop_at"), t("chat.stop_help", { count: MAX_STOPS }), box);
}

function bias(model, settings, set) {
  const written = (settings.bias ?? []).map(({ words, value }) => `${words}=${value}`);
  const box = el("textarea", { rows: 2, value: written.join("\n"), placeholder: t("chat.none"), spellcheck: false });
  const problem = el("p.problem", { role: "alert" });
  box.addEventListener("change", async () => {
    try {
      const found = await Promise.all(box.value.split("\n").filter((line) => line.trim()).map((line) => biased(model, line)));
      fill(problem);
      set("bias", found.length ? found : undefined);
    } catch (error) {
      fill(problem, error.message);
    }
  });
  return field(t("chat.bias"), t("chat.bias_help"), box, problem);
}

async function biased(model, line) {
  const at = line.lastIndexOf("=");
  const value = Number(line.slice(at + 1));
  if (at < 1 || line.slice(at + 1).trim() === "" || !(Math.abs(value) <= 100)) {
    throw new Error(t("chat.bias_wrong", { line }));
  }
  const words = line.slice(0, at);
  const ids = await tokenize({ model: model.name, prompt: words, add_special_tokens: false });
  if (ids.length !== 1) throw new Error(t("chat.bias_several", { words, count: ids.length }));
  return { words, value };
}

function format(settings, set) {
  const kinds = [["", "chat.any_text"], ["json_object", "chat.json_object"], ["json_schema", "chat.json_schema"], ["regex", "chat.regex"]];
  const kind = settings.format?.type ?? "";
  const source = el("textarea", { rows: 4, spellcheck: false, "aria-label": t("chat.schema"), hidden: !["json_schema", "regex"].includes(kind) });
  source.value = kind === "regex" ? settings.format.regex ?? "" : kind === "json_schema" ? JSON.stringify(settings.format.json_schema?.schema ?? {}, null, 2) : "";
  const problem = el("p.problem", { role: "alert" });
  const select = el("select", {}, kinds.map(([value, words]) => el("option", { value, selected: value === kind }, t(words))));
  const take = () => {
    source.hidden = !["json_schema", "regex"].includes(select.value);
    source.placeholder = select.value === "regex" ? "[0-9]{4}" : '{"type": "object", "properties": {}}';
    fill(problem);
    if (select.value === "json_object") set("format", { type: "json_object" });
    else if (select.value === "regex" && source.value) set("format", { type: "regex", regex: source.value });
    else if (select.value === "json_schema" && source.value) {
      try {
        set("format", { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(source.value) } });
      } catch {
        fill(problem, t("chat.not_json"));
        set("format", undefined);
      }
    } else set("format", undefined);
  };
  select.addEventListener("change", take);
  source.addEventListener("input", take);
  return field(t("chat.structured"), t("chat.structured_help"), select, source, problem);
}

function field(label, help, box, ...more) {
  return el("div.field", {}, el("label", {}, label, box), more, help && el("p.soft", {}, help));
}

function whole(text, least, most) {
  const value = Number(text);
  return text !== "" && Number.isInteger(value) && value >= least ? Math.min(value, most) : undefined;
}
