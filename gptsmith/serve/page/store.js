import { absorb, titleOf } from "./tree.js";

const DATABASE = "gptsmith";
const CONVERSATIONS = "conversations";
const SUMMARIES = "summaries";

/** Where conversations are kept: in this browser, or, where it does not let a page keep anything, until the page is left. */
export async function openStore() {
  try {
    return new Store(new Shelf(await openDatabase()), new BroadcastChannel(DATABASE), true);
  } catch {
    return new Store(new Memory(), null, false);
  }
}

/** Conversations by their ids, with a summary of each for lists. */
class Store {
  constructor(shelf, channel, isLasting) {
    this.shelf = shelf;
    this.channel = channel;
    this.isLasting = isLasting;
  }

  /** What there is, newest first. */
  async list() {
    return newestFirst(await this.shelf.summaries());
  }

  /** A conversation, or undefined. */
  get(id) {
    return this.shelf.get(id);
  }

  /**
   * Keeps a conversation, and takes into it what another tab has kept of it meanwhile; it is kept once this resolves. Throws
   * an error for a person where there is no room.
   */
  async put(conversation) {
    await this.shelf.put(conversation);
    this.channel?.postMessage(conversation.id);
  }

  async remove(id) {
    await this.shelf.remove(id);
    this.channel?.postMessage(id);
  }

  /** The summaries of those in which all words occur, newest first. */
  async search(words) {
    const wanted = folded(words).split(/\s+/).filter(Boolean);
    const found = [];
    await this.shelf.visit((conversation) => {
      if (holds(conversation, wanted)) found.push(summaryOf(conversation));
    });
    return newestFirst(found);
  }

  /** Calls a function with the id of what another tab has kept or removed. */
  onChange(callback) {
    this.channel?.addEventListener("message", ({ data }) => callback(data));
  }
}

function summaryOf(conversation) {
  const { id, model, mode, updated } = conversation;
  return { id, title: titleOf(conversation), model, mode, updated };
}

function newestFirst(summaries) {
  return summaries.sort((one, other) => other.updated - one.updated);
}

/** A text in which letters that differ in case only are the same: ß and SS, σ and ς. */
function folded(text) {
  return text.normalize("NFKC").toLowerCase().toUpperCase();
}

function holds({ title, nodes }, wanted) {
  let missing = wanted;
  for (const text of [title, ...Object.values(nodes).map((node) => node.text)]) {
    if (!missing.length) return true;
    const there = folded(text);
    missing = missing.filter((word) => !there.includes(word));
  }
  return !missing.length;
}

/** Keeps nothing beyond the page. */
class Memory {
  constructor() {
    this.kept = new Map();
  }

  async summaries() {
    return [...this.kept.values()].map(({ summary }) => ({ ...summary }));
  }

  async get(id) {
    return structuredClone(this.kept.get(id)?.conversation);
  }

  async put(conversation) {
    this.kept.set(conversation.id, structuredClone({ conversation, summary: summaryOf(conversation) }));
  }

  async remove(id) {
    this.kept.delete(id);
  }

  async visit(look) {
    for (const { conversation } of this.kept.values()) look(conversation);
  }
}

/** Keeps conversations in the browser's database. */
class Shelf {
  constructor(database) {
    this.database = database;
    // Another tab may bring a newer form of the database, or empty it.
    database.onversionchange = () => database.close();
  }

  summaries() {
    return answer(this.database.transaction(SUMMARIES).objectStore(SUMMARIES).getAll());
  }

  get(id) {
    return answer(this.database.transaction(CONVERSATIONS).objectStore(CONVERSATIONS).get(id));
  }

  put(conversation) {
    return this.write((conversations, summaries) => {
      conversations.get(conversation.id).onsuccess = ({ target: { result: kept } }) => {
        if (kept) absorb(conversation, kept);
        conversations.put(conversation);
        summaries.put(summaryOf(conversation));
      };
    });
  }

  remove(id) {
    return this.write((conversations, summaries) => {
      conversations.delete(id);
      summaries.delete(id);
    });
  }

  /** Both stores change, or none. */
  write(change) {
    const transaction = this.database.transaction([CONVERSATIONS, SUMMARIES], "readwrite");
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(readable(transaction.error));
    });
    change(transaction.objectStore(CONVERSATIONS), transaction.objectStore(SUMMARIES));
    return ended;
  }

  /** Shows a function one conversation after another. */
  visit(look) {
    const request = this.database.transaction(CONVERSATIONS).objectStore(CONVERSATIONS).openCursor();
    return new Promise((resolve, reject) => {
      request.onerror = () => reject(readable(request.error));
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve();
        look(cursor.value);
        cursor.continue();
      };
    });
  }
}

function openDatabase() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => {
    for (const name of [CONVERSATIONS, SUMMARIES]) request.result.createObjectStore(name, { keyPath: "id" });
  };
  return answer(request);
}

function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(readable(request.error));
  });
}

/** What went wrong, in words for a person. */
function readable(error) {
  if (error?.name === "QuotaExceededError") {
    return new Error("there is no room left in this browser: export conversations that you want to keep, and delete some");
  }
  return new Error(`this browser could not keep or read conversations: ${error?.message ?? "it gives no reason"}`);
}
