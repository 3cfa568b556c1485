import { t } from "./words.js";
const MOST_TITLE = 60;

/** A name that nothing else has. (`crypto.randomUUID` is only there on pages that came over HTTPS or from this machine.) */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A conversation in which nothing is said yet. */
export function newConversation({ model = "", mode = "chat", system = "", settings = {} } = {}) {
  const now = Date.now();
  return { id: newId(), title: "", model, mode, system, created: now, updated: now, settings, nodes: {}, roots: [], selected: {} };
}

/** The messages that are shown: from a root along the selected children, up to where none is selected. */
export function path(conversation) {
  const { nodes, selected } = conversation;
  const found = [];
  for (let node = nodes[selected[""]]; node; node = nodes[selected[node.id]]) found.push(node);
  return found;
}

/** A new message under another one, or a root. It is selected then, and so are those above it. */
export function addNode(conversation, parentId, fields) {
  const now = Date.now();
  const node = { text: "", created: now, ...fields, id: newId(), parent: parentId ?? null, children: [] };
  conversation.nodes[node.id] = node;
  alternatives(conversation, node).push(node.id);
  select(conversation, node.id);
  conversation.updated = now;
  return node;
}

/**
 * A branch in which a message reads otherwise, and those between it and another one below are as they were: the last of
 * them, under which an answer to it all can stand.
 */
export function branchWith(conversation, nodeId, text, belowId) {
  const between = [];
  for (let node = conversation.nodes[conversation.nodes[belowId].parent]; node.id !== nodeId; node = conversation.nodes[node.parent]) between.unshift(node);
  const { parent, role } = conversation.nodes[nodeId];
  let last = addNode(conversation, parent, { role, text });
  for (const node of between) last = addNode(conversation, last.id, { role: node.role, text: node.text });
  return last;
}

/** The ids of a message and of those that stand in its place in other branches, and which of them it is. */
export function siblings(conversation, nodeId) {
  const ids = alternatives(conversation, conversation.nodes[nodeId]);
  return { ids, index: ids.indexOf(nodeId) };
}

/** Makes the path run through a message. What is selected below it stays. */
export function select(conversation, nodeId) {
  for (let node = conversation.nodes[nodeId]; node; node = conversation.nodes[node.parent]) {
    conversation.selected[node.parent ?? ""] = node.id;
  }
}

/** The message that stands so many places further, selected; null where there is none. */
export function step(conversation, nodeId, places) {
  const { ids, index } = siblings(conversation, nodeId);
  const id = ids[index + places];
  if (id === undefined) return null;
  select(conversation, id);
  return conversation.nodes[id];
}

/**
 * Takes into a conversation what another copy of it has: messages that are new, those that changed later, and the rest where
 * the copy is newer. What is selected stays.
 */
export function absorb(conversation, other) {
  const { nodes } = conversation;
  for (const [id, node] of Object.entries(other.nodes)) {
    const own = nodes[id];
    if (!own) nodes[id] = node;
    else {
      const children = union(own.children, node.children);
      if (lastChange(node) > lastChange(own)) {
        for (const name of ["error", "finish", "tokens", "figures"]) delete own[name];
        Object.assign(own, node);
      }
      own.children = children;
    }
  }
  conversation.roots = union(conversation.roots, other.roots);
  conversation.selected = { ...other.selected, ...conversation.selected };
  if (other.updated > conversation.updated) {
    const { title, model, mode, system, settings, updated } = other;
    Object.assign(conversation, { title, model, mode, system, settings, updated });
  }
}

/** What a conversation is called: its title, or how its first text begins. */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = path(conversation).find(({ role, text }) => role === "user" && text.trim());
  return first ? beginning(first.text.trimStart().split(/[\r\n]/, 1)[0].trimEnd()) : t("chat.new");
}

const lastChange = ({ changed, created }) => changed ?? created;
const union = (ids, others) => [...new Set([...ids, ...others])];

function alternatives(conversation, node) {
  return node.parent === null ? conversation.roots : conversation.nodes[node.parent].children;
}

/** The first characters of a line, as a person counts them. */
function beginning(line) {
  let count = 0;
  for (const { index } of new Intl.Segmenter().segment(line)) {
    if (count === MOST_TITLE) return line.slice(0, index).trimEnd();
    count += 1;
  }
  return line;
}
