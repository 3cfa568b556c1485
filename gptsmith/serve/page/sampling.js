/** How a text is drawn: what can be set, and what of it is sent. */

/**
 * The settings that are numbers. `off` is the value that sets nothing, where the model's own is not known; `sure` and
 * `wild` say what the ends of the range do.
 */
export const NUMBERS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, off: 1,
    help: "Below 1 surer, above 1 wilder; 0 always takes the likeliest token." },
  { name: "top_p", label: "Top-p", min: 0.01, max: 1, step: 0.01, off: 1,
    help: "Only the likeliest tokens that together have this probability." },
  { name: "top_k", label: "Top-k", min: 0, max: 200, step: 1, off: 0, help: "Only this many of the likeliest tokens; 0 is all." },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, off: 0,
    help: "Only tokens at least this share as likely as the likeliest." },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.5, max: 2, step: 0.05, off: 1,
    help: "Above 1, words that stand there already become unlikelier." },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1, off: 0,
    help: "What a token loses for each time that it was written." },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, off: 0,
    help: "What a token loses once it was written." },
];

export const MAX_STOPS = 16;
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
  if (settings.bias?.length) sent.logit_bias = Object.fromEntries(settings.bias.map(({ id, value }) => [id, value]));
  if (mode === "chat" && settings.format) sent.response_format = settings.format;
  return sent;
}
