/** How a text is drawn: what can be set, and what of it is sent. */

/** The settings that are numbers. `off` is the value that sets nothing, where the model's own is not known. */
export const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, off: 1,
    help: "0 is greedy; below 1 is more deterministic, above 1 more random." },
  { name: "top_p", label: "Top-p", min: 0.01, max: 1, step: 0.01, off: 1,
    help: "Sample from the most probable tokens that together have this probability." },
  { name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, off: 0, help: "Sample from only this many of the most probable tokens; 0 is all." },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, off: 0,
    help: "Sample from tokens at least this fraction as probable as the most probable one." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.05, off: 1,
    help: "Above 1, tokens that are already in the context become less probable." },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, off: 0,
    help: "Subtracted from the logit of a token for each time that it was generated." },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, off: 0,
    help: "Subtracted from the logit of a token that was generated before." },
];

export const MAX_STOPS = 16;
const FORMATS = ["json_object", "json_schema", "regex"];
const TEXT_TOKENS = 200;

/** What a setting of numbers is where nothing is set: the model's own, else the value that does nothing. */
export const usual = (model, { name, off }) => model?.sampling[name] ?? off;

/** The most tokens of the next text, or null for as many as the context holds. */
export function mostTokens(model, mode, settings) {
  const most = settings.max_tokens ?? (mode === "text" ? Math.min(TEXT_TOKENS, model.context_length / 2) : null);
  return model.max_tokens && most ? Math.min(most, model.max_tokens) : most;
}

/** The fields of a request for a conversation's settings. */
export function fields(model, mode, settings) {
  const sent = {};
  for (const { name } of NUMBERS) if (settings[name] !== undefined) sent[name] = settings[name];
  if (sent.top_k === 0) delete sent.top_k;
  const most = mostTokens(model, mode, settings);
  if (most) sent.max_tokens = most;
  if (settings.seed !== undefined) sent.seed = settings.seed;
  if (settings.stop?.length) sent.stop = settings.stop;
  if (mode === "chat" && settings.format) sent.response_format = settings.format;
  return sent;
}

/** Of settings from anywhere those that this page could have made itself. */
export function checkedSettings(given) {
  const isNumber = (value, min, max) => typeof value === "number" && value >= min && value <= max;
  const rules = {
    max_tokens: (value) => Number.isInteger(value) && value > 0,
    seed: (value) => Number.isSafeInteger(value) && value >= 0,
    stop: (value) => Array.isArray(value) && value.length <= MAX_STOPS && value.every((one) => typeof one === "string" && one),
    bias: (value) => Array.isArray(value) && value.every((one) => typeof one?.words === "string" && isNumber(one.value, -100, 100)),
    format: (value) => FORMATS.includes(value?.type),
  };
  for (const { name, min, max } of NUMBERS) rules[name] = (value) => isNumber(value, min, max);
  return Object.fromEntries(Object.entries(given ?? {}).filter(([name, value]) => Object.hasOwn(rules, name) && rules[name](value)));
}

/** Of the settings of a conversation those with which the next one begins: not what was meant for this one alone. */
export function lasting(settings) {
  const { max_tokens: most, ...rest } = settings;
  const numbers = NUMBERS.filter(({ name }) => name in rest).map(({ name }) => [name, rest[name]]);
  return Object.fromEntries([...numbers, ...(most ? [["max_tokens", most]] : [])]);
}
