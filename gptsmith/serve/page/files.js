import { checkedSettings } from "./sampling.js";
import { newId, path, titleOf } from "./tree.js";

const FORMAT = "gptsmith-conversations";
const VERSION = 1;
const MOST_CHARACTERS = 200_000_000;
const MOST_CONVERSATIONS = 10_000;
const MOST_MESSAGES = 100_000;
const MOST_NAME = 10_000;
/** How deep settings and figures may nest: code that goes through them need not fear for its stack. */
const MOST_NESTED = 16;

/** Conversations as a file that this page reads again. */
export function toJson(conversations) {
  return JSON.stringify({ format: FORMAT, version: VERSION, conversations }, null, 1);
}

/** The conversations of a file, checked and under new ids. Throws an error for a person at what is not as it should be. */
export function fromJson(text) {
  if (text.length > MOST_CHARACTERS) throw new Error("this file is too large: 200 million characters are read at most");
  const file = parsed(text);
  if (!isObject(file) || file.format !== FORMAT) throw new Error("this file does not hold conversations of this page");
  if (file.version !== VERSION) throw new Error("this file was written by a version of this page that is not known here");
  if (!Array.isArray(file.conversations)) throw new Error("this file has no list of conversations");
  if (file.conversations.length > MOST_CONVERSATIONS) throw new Error(`this file has more than ${MOST_CONVERSATIONS} conversations`);
  return file.conversations.map((conversation, i) => checkedConversation(conversation, `conversation ${i + 1}`));
}

/** The messages that a conversation shows, as Markdown; in text mode the text itself. */
export function toMarkdown(conversation) {
  const { model, mode, created } = conversation;
  const messages = path(conversation);
  const name = inOneLine(model);
  const about = [name, new Date(created).toISOString().slice(0, 10)].filter(Boolean).join(", ");
  const said = messages.map(({ role, text }) => `## ${role === "user" ? "You" : name || "Answer"}\n\n${text.trim()}`);
  const body = mode === "text" ? [messages.map(({ text }) => text).join("")] : said;
  return `${[`# ${inOneLine(titleOf(conversation))}`, about, ...body].join("\n\n")}\n`;
}

function inOneLine(text) {
  return text.replace(/\s+/g, " ").trim();
}

function parsed(text) {
  try {
    return JSON.parse(text.replace(/^\ufeff/, ""));
  } catch {
    throw new Error("this file is not JSON");
  }
}

function checkedConversation(given, where) {
  check(isObject(given), `${where} is not an object`);
  const { title, model, mode, system, created, updated, settings } = given;
  for (const name of ["title", "model", "system"]) checkText(given[name], `${where}: its ${name}`);
  for (const name of ["title", "model"]) check(given[name].length <= MOST_NAME, `${where}: its ${name} is too long`);
  check(mode === "chat" || mode === "text", `${where}: its mode is neither chat nor text`);
  for (const name of ["created", "updated"]) checkTime(given[name], `${where}: its time (${name})`);
  check(isObject(settings) && isPlain(settings), `${where}: its settings are missing or not plain`);
  return { id: newId(), title, model, mode, system, created, updated, settings: checkedSettings(settings), ...checkedTree(given, where) };
}

/** The messages of a conversation, which hang together. */
function checkedTree({ nodes: given, roots, selected }, where) {
  check(isObject(given), `${where}: its messages are missing`);
  const entries = Object.entries(given);
  check(entries.length <= MOST_MESSAGES, `${where} has more than ${MOST_MESSAGES} messages`);
  const wheres = new Map(entries.map(([id], i) => [id, `${where}, message ${i + 1}`]));
  const nodes = {};
  for (const [id, node] of entries) nodes[id] = checkedNode(id, node, wheres.get(id));
  checkIds(roots, `${where}: its list of first messages`);
  checkPlaces(nodes, roots, where, wheres);
  checkSelected(selected, nodes, roots, where);
  return { nodes, roots, selected };
}

function checkedNode(id, given, where) {
  check(/^[A-Za-z0-9-]{1,64}$/.test(id) && !(id in Object.prototype), `${where}: its id is not letters, digits and dashes`);
  check(isObject(given), `${where} is not an object`);
  check(given.id === id, `${where}: its id is not the one that it is listed under`);
  const { parent, children, role, text, created } = given;
  check(parent === null || typeof parent === "string", `${where}: what it answers is missing`);
  checkIds(children, `${where}: its list of answers`);
  check(role === "user" || role === "assistant", `${where}: its role is neither user nor assistant`);
  checkText(text, `${where}: its text`);
  checkTime(created, `${where}: its time`);
  return { id, parent, children, role, text, created, ...checkedExtras(given, where) };
}

/** What the page keeps of a message besides: how it was written. */
function checkedExtras(given, where) {
  const kinds = {
    tokens: (value) => Array.isArray(value) && value.every(isToken),
    figures: (value) => isObject(value) && Object.entries(value).every(isFigure),
    error: (value) => isObject(value) && typeof value.message === "string",
    finish: (value) => typeof value === "string",
    note: (value) => typeof value === "string",
    documents: (value) => isObject(value) && Array.isArray(value.sources) && value.sources.every(isSource),
  };
  const kept = {};
  for (const [name, isRight] of Object.entries(kinds)) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    check(isRight(value) && isPlain(value), `${where}: its ${name} cannot be read`);
    kept[name] = value;
  }
  return kept;
}

function isToken(value) {
  return isLikely(value) && Array.isArray(value.alternatives) && value.alternatives.every(isLikely);
}

function isSource(value) {
  const isPlace = isObject(value) && (value.line === null || Number.isFinite(value.line)) && Array.isArray(value.headings);
  return isPlace && [value.id, value.file, value.text, ...value.headings].every((one) => typeof one === "string");
}

function isFigure([name, value]) {
  return name === "model" ? typeof value === "string" : Number.isFinite(value);
}

function isLikely(value) {
  const isText = isObject(value) && typeof value.text === "string" && Number.isFinite(value.logprob);
  return isText && (value.bytes === undefined || (Array.isArray(value.bytes) && value.bytes.every(Number.isInteger)));
}

/** Every message stands in one place, and a way leads there from the beginning. */
function checkPlaces(nodes, roots, where, wheres) {
  const reached = new Set();
  const left = [[null, roots]];
  while (left.length) {
    const [parent, ids] = left.pop();
    for (const id of ids) {
      const by = parent === null ? `${where}: its list of first messages` : `${wheres.get(parent)}: its list of answers`;
      check(Object.hasOwn(nodes, id), `${by} names a message that is not there`);
      check(nodes[id].parent === parent, `${wheres.get(id)}: it stands in a place that is not its own`);
      check(!reached.has(id), `${wheres.get(id)}: it stands in two places`);
      reached.add(id);
      left.push([id, nodes[id].children]);
    }
  }
  for (const id of Object.keys(nodes)) check(reached.has(id), `${wheres.get(id)}: no way leads to it from the beginning`);
}

function checkSelected(selected, nodes, roots, where) {
  check(isObject(selected), `${where}: which messages it shows is missing`);
  for (const [parent, id] of Object.entries(selected)) {
    const ids = parent === "" ? roots : Object.hasOwn(nodes, parent) ? nodes[parent].children : null;
    check(ids && (id === null || ids.includes(id)), `${where}: it shows a message in a place that is not its own`);
  }
}

function check(isRight, message) {
  if (!isRight) throw new Error(message);
}

function checkText(value, what) {
  check(value !== undefined, `${what} is missing`);
  check(typeof value === "string", `${what} is not a text`);
}

function checkTime(value, what) {
  check(Number.isFinite(value) && Math.abs(value) <= 8.64e15, `${what} is missing or no time`);
}

function checkIds(value, what) {
  check(Array.isArray(value) && value.every((id) => typeof id === "string"), `${what} is missing or no list of ids`);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value of JSON can be gone through and copied without harm. */
function isPlain(value, depth = 0) {
  if (typeof value !== "object" || value === null) return true;
  return depth < MOST_NESTED && !Object.hasOwn(value, "__proto__") && Object.values(value).every((one) => isPlain(one, depth + 1));
}
