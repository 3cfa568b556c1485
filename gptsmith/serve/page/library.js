/** The conversations of this browser, each at most once in the memory of this page. */

import { forget, keep, keptNames, keptValue } from "./memory.js";
import { absorb } from "./tree.js";

const SOON_MS = 1500;
const UNSAVED = "unsaved-";

/**
 * `on.change(id)` is called when another tab has changed or removed a conversation, `on.kept()` when this page has kept or
 * removed one, and `on.problem(error)` when it could not.
 */
export class Library {
  constructor(store, on) {
    Object.assign(this, { store, on, known: new Map(), timers: new Map(), removed: new Set() });
    store.onChange((id) => this.changedElsewhere(id));
  }

  /** A conversation, or undefined. */
  async get(id) {
    if (this.known.has(id)) return this.known.get(id);
    const found = await this.store.get(id);
    if (found && !this.known.has(id)) this.known.set(id, found);
    return this.known.get(id);
  }

  /** Keeps a conversation that has changed. */
  async keep(conversation) {
    const { id } = conversation;
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    if (this.removed.has(id)) return;
    this.known.set(id, conversation);
    try {
      await this.store.put(conversation);
      if (!this.timers.has(id)) forget("localStorage", UNSAVED + id);
    } catch (error) {
      this.on.problem(error);
    }
    this.on.kept();
  }

  /** Keeps a conversation within a moment, however often it is called. */
  keepSoon(conversation) {
    conversation.updated = Date.now();
    this.known.set(conversation.id, conversation);
    if (!this.timers.has(conversation.id)) this.timers.set(conversation.id, setTimeout(() => this.keep(conversation), SOON_MS));
  }

  /** Puts what was to be kept soon where a page that is left can still write: the store may be too slow for that. */
  leave() {
    for (const id of this.timers.keys()) keep("localStorage", UNSAVED + id, JSON.stringify(this.known.get(id)));
  }

  /** Takes into the store what pages that were left had not brought there. */
  async takeUnsaved() {
    for (const name of keptNames("localStorage", UNSAVED)) {
      const conversation = keptValue("localStorage", name);
      forget("localStorage", name);
      if (typeof conversation?.nodes === "object" && conversation.id === name.slice(UNSAVED.length)) await this.keep(conversation);
    }
  }

  /** Removes a conversation; nothing that is still being written brings it back. */
  async remove(id) {
    this.lose(id);
    await this.store.remove(id);
    this.on.kept();
  }

  /** Brings a removed conversation back. */
  async restore(conversation) {
    this.removed.delete(conversation.id);
    await this.keep(conversation);
  }

  lose(id) {
    clearTimeout(this.timers.get(id));
    this.timers.delete(id);
    this.removed.add(id);
    this.known.delete(id);
    forget("localStorage", UNSAVED + id);
  }

  async changedElsewhere(id) {
    const newer = await this.store.get(id);
    const own = this.known.get(id);
    if (newer) {
      this.removed.delete(id);
      if (own) absorb(own, newer);
    } else this.lose(id);
    this.on.change(id);
  }
}
