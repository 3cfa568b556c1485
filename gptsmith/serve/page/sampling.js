/** How a text is drawn: what can be set, and what of it is sent. */

/** The settings that are numbers. `off` is the value that sets nothing, where the model's own is not known. Their words are
 *  `chat.set.NAME` and `chat.help.NAME`. */
export const NUMBERS = [
  { name: "temperature", min: 0, max: 2, step: 0.05, off: 1 },
  { name: "top_p", min: 0.01, max: 1, step: 0.01, off: 1 },
  { name: "top_k", min: 0, max: 200, step: 1, off: 0 },
  { name: "min_p", min: 0, max: 1, step: 0.01, off: 0 },
  { name: "repetition_penalty", min: 0.5, max: 2, step: 0.05, off: 1 },
  { name: "frequency_penalty", min: -2, max: 2, step: 0.1, off: 0 },
  { name: "presence_penalty", min: -2, max: 2, step: 0.1, off: 0 },
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
