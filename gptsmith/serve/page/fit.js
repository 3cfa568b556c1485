/** Whether a message can be sent at all, which is said before it is sent. */

import { tokenize } from "./server.js";
import { t } from "./words.js";

const COUNT_MS = 3000;
/** Tokens that a template may put around a message. */
const AROUND_A_MESSAGE = 64;
const encoder = new TextEncoder();

/**
 * Why a message does not fit into the context of a model, even without the messages before it; "" where it does.
 * A token has one byte at least, so that most texts need no look at their tokens.
 */
export async function misfit(model, { mode, system }, text) {
  if (mode === "text" || encoder.encode(system + text).length + AROUND_A_MESSAGE < model.context_length) return "";
  const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: text }];
  const about = { name: model.name, context: model.context_length };
  try {
    const { length } = await tokenize({ model: model.name, messages }, AbortSignal.timeout(COUNT_MS));
    return length < model.context_length ? "" : t("chat.too_long", { ...about, count: length });
  } catch (error) {
    // Without an answer it is sent, and what is wrong is said there.
    return error.kind === "full" ? t("chat.too_long_to_read", about) : "";
  }
}
