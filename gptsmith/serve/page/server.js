/** The server: what models it has, and texts as they are written. */

import { events } from "./events.js";
import { keep, kept } from "./memory.js";
import { t } from "./words.js";

const KEY = "key";
/** Where the server is: behind a proxy it may be below another address. */
const BASE = new URL("..", import.meta.url);
export const NUM_ALTERNATIVES = 10;
/** Characters of a text by which it is known to begin as another one. */
const NUM_AFFINE = 200;

/** What went wrong, for a person. `kind` says what can be done about it. */
export class ServerError extends Error {
  constructor(kind, message, details = {}) {
    super(message);
    Object.assign(this, { name: "ServerError", kind, ...details });
  }
}

/** The key that this tab sends, or an empty text. It is forgotten with the tab; in a studio, the browser keeps its token. */
export const keyOfTab = () => kept("sessionStorage", KEY) ?? kept("localStorage", "token") ?? "";
export const setKeyOfTab = (key) => keep("sessionStorage", KEY, key);

/** The models that write text, each with what the server tells of it. */
export async function listModels() {
  const { data } = await read(await ask("v1/models"));
  return data.map((card) => ({ name: card.id, ...card.gptsmith })).filter(({ kind }) => kind !== "classifier");
}

/** Whether the server takes requests. */
export async function isThere() {
  try {
    return (await fetch(new URL("ready", BASE), { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** The tokens of a text (`prompt`) or of a conversation (`messages`), as numbers. */
export async function tokenize(body, signal) {
  return (await read(await ask("tokenize", body, signal))).tokens;
}

/**
 * Chunks of a text as it is generated: {text, tokens, finish, usage, numOmitted, documents}, each if there is one.
 * `isChat` says whether `body` is for /v1/chat/completions or for /v1/completions.
 */
export async function* write(isChat, body, signal) {
  const wanted = isChat ? { logprobs: true, top_logprobs: NUM_ALTERNATIVES } : { logprobs: NUM_ALTERNATIVES };
  const whole = { ...body, ...wanted, stream: true, stream_options: { include_usage: true } };
  const answer = await ask(isChat ? "v1/chat/completions" : "v1/completions", whole, signal, { "X-Prefix-Affinity": affinity(body) });
  let isWhole = false;
  let isThinking = isChat && endsInThoughts(body);
  try {
    for await (const { data } of events(answer.body)) {
      if (data === "[DONE]") {
        isWhole = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw errorOf(500, chunk.error, 0);
      if (chunk.usage) yield { usage: chunk.usage };
      const choice = chunk.choices[0];
      if (choice) {
        let text = isChat ? choice.delta.content ?? "" : choice.text;
        const thoughts = isChat ? choice.delta.reasoning_content ?? "" : "";
        if (isThinking && text) text = `\n</think>\n\n${text}`;
        if (thoughts) text = isThinking ? thoughts : `<think>\n${thoughts}`;
        if (text) isThinking = thoughts !== "";
        const numOmitted = chunk.omitted_messages ?? chunk.omitted_tokens;
        yield { text, tokens: tokensOf(choice.logprobs), finish: choice.finish_reason, numOmitted, documents: chunk.documents };
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof ServerError) throw error;
    throw new ServerError("broken", t("chat.connection_broken"));
  }
  if (!isWhole) throw new ServerError("broken", t("chat.answer_broken"));
}

/**
 * What explains a word of an answer. `onProgress({done, total})` is called while it is computed.
 *
 * Leaving, by `signal`, ends the work on the server too.
 */
export async function explain(body, signal, onProgress) {
  const answer = await ask("v1/explain", { ...body, stream: true }, signal);
  try {
    for await (const { event, data } of events(answer.body)) {
      const told = JSON.parse(data);
      if (told.error) throw errorOf(told.status ?? 500, told.error, 0);
      if (event === "progress") onProgress(told);
      else return told;
    }
  } catch (error) {
    if (signal.aborted || error instanceof ServerError) throw error;
  }
  throw new ServerError("broken", t("chat.explanation_broken"));
}

/** Where a text stands in what a model learnt from. */
export const trace = async (body, signal) => read(await ask("v1/trace", body, signal));

/** A passage of a document, with what stands before and after it. */
export const passage = async (id) => read(await ask(`v1/documents/${encodeURIComponent(id)}`));

/** Whether an answer that is to be continued ends in thoughts. */
function endsInThoughts({ messages, continue_final_message: goesOn }) {
  const text = goesOn ? messages.at(-1).content : "";
  return text.lastIndexOf("<think>") > text.lastIndexOf("</think>");
}

async function read(answer) {
  try {
    return await answer.json();
  } catch {
    throw new ServerError("failed", t("chat.unreadable"));
  }
}

/**
 * A short hash (FNV-1a) of how a text or a conversation begins. A balancer that goes by it sends every turn of a conversation
 * to the server that still has the turns before it in its cache.
 */
function affinity({ messages, prompt }) {
  const first = messages ? messages.slice(0, messages[0]?.role === "system" ? 2 : 1) : String(prompt).slice(0, NUM_AFFINE);
  let hash = 0x811c9dc5;
  for (const character of JSON.stringify(first)) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}

async function ask(path, body, signal, more = {}) {
  const key = keyOfTab();
  const headers = { ...more, ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError("gone", t("chat.server_gone"));
  }
  if (answer.ok) return answer;
  let told = {};
  try {
    told = (await answer.json()).error ?? {};
  } catch {
    // An answer of something between here and the server.
  }
  throw errorOf(answer.status, told, Number(answer.headers.get("retry-after")));
}

function errorOf(status, told, retryAfterS) {
  const said = sentence(told.message ?? t("chat.server_answered", { status: String(status) }));
  if (status === 401) return new ServerError("key", t("chat.needs_key"));
  if (status === 429 || told.code === "queue_full") {
    return new ServerError("busy", t("chat.server_busy"), { retryAfterS: retryAfterS || 1 });
  }
  if (status === 503) return new ServerError("gone", t("chat.shutting_down"));
  if (status === 413) return new ServerError("full", t("chat.server_full"));
  if (told.code === "context_length_exceeded") return new ServerError("full", said);
  return new ServerError(status >= 500 ? "failed" : "refused", said, { param: told.param });
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

/** Tokens as the page keeps them: {text, bytes (where they are no whole characters), logprob, alternatives}. */
function tokensOf(told) {
  if (!told) return [];
  if (told.content) {
    return told.content.map((one) => ({ ...tokenOf(one), alternatives: one.top_logprobs.map(tokenOf) }));
  }
  return told.tokens.map((word, number) => ({
    ...spelled(word, told.token_logprobs[number]),
    alternatives: Object.entries(told.top_logprobs[number] ?? {})
      .map(([other, logprob]) => spelled(other, logprob))
      .sort((one, other) => other.logprob - one.logprob)
      .slice(0, NUM_ALTERNATIVES),
  }));
}

function tokenOf({ token, bytes, logprob }) {
  return token.includes("\ufffd") ? { text: token, bytes, logprob } : { text: token, logprob };
}

function spelled(word, logprob) {
  if (!word.startsWith("bytes:\\x")) return { text: word, logprob };
  const bytes = word.slice(6).split("\\x").slice(1).map((digits) => parseInt(digits, 16));
  return { text: new TextDecoder().decode(new Uint8Array(bytes)), bytes, logprob };
}
