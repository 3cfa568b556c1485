/** Marks on their way to the studio: kept in this browser until it has them, however long it is away. */

import { forget, keep, keptNames, keptValue } from "../memory.js";

const OUTBOX = "mark-";
const AGAIN_MS = 3000;
const MAX_KNOWN = 2000;

/**
 * `on.change()` is called when something about marks is known anew, and `on.problem(error)` where one was refused.
 *
 * Each entry is a mark as the studio takes it, or {id, at_ms, isTakenBack}. Which of two came later is said by `at_ms`, so
 * that they may arrive in any order and more than once.
 */
export class MarksOutbox {
  constructor(api, on) {
    Object.assign(this, { api, on, there: new Map(), waiting: new Map(), others: new BroadcastChannel("gptsmith-marks") });
    for (const name of keptNames("localStorage", OUTBOX)) {
      const entry = keptValue("localStorage", name);
      if (entry?.id) this.waiting.set(entry.id, entry);
    }
    this.others.addEventListener("message", ({ data }) => this.look([data]));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.look([...this.there.keys()]); });
    this.send();
  }

  /** The verdict of a mark, or undefined. */
  verdict(id) {
    const entry = this.waiting.get(id) ?? this.there.get(id);
    return entry?.isTakenBack ? undefined : entry?.verdict;
  }

  /** Asks about marks of which nothing is known yet. */
  lookNew(ids) {
    const unknown = ids.filter((id) => !this.there.has(id));
    if (unknown.length) this.look(unknown);
  }

  /** Asks about marks; a studio that is away is asked when it is back. */
  async look(ids) {
    for (const id of ids) if (!this.there.has(id)) this.there.set(id, {});
    for (let start = 0; start < ids.length; start += MAX_KNOWN) {
      const asked = ids.slice(start, start + MAX_KNOWN);
      try {
        const { marks } = await this.api.post("marks/known", { ids: asked });
        for (const id of asked) this.there.set(id, marks[id] ?? {});
      } catch {
        for (const id of asked) this.there.delete(id);
        return;
      }
    }
    this.on.change();
  }

  /** Gives a mark, or another verdict in its place. */
  give(mark) {
    this.put({ edited: null, ...wellFormed(mark) });
  }

  /** Takes a mark back. */
  takeBack(id) {
    this.put({ id, isTakenBack: true });
  }

  put(entry) {
    const before = this.waiting.get(entry.id) ?? this.there.get(entry.id);
    const timed = { ...entry, at_ms: Math.max(Date.now(), (before?.at_ms ?? 0) + 1) };
    this.waiting.set(timed.id, timed);
    keep("localStorage", OUTBOX + timed.id, JSON.stringify(timed));
    this.on.change();
    this.send();
  }

  /** Sends what waits, one after the other; what the studio cannot take now is sent again. */
  async send() {
    if (this.isSending) return;
    this.isSending = true;
    let isLeft = false;
    for (const entry of [...this.waiting.values()]) {
      try {
        await this.deliver(entry);
        this.sent(entry);
      } catch (error) {
        if (isFinal(error)) {
          this.sent(entry, {});
          this.on.problem(error);
        } else isLeft = true;
        if (error.kind === "gone") break;
      }
    }
    this.isSending = false;
    if (isLeft) setTimeout(() => this.send(), AGAIN_MS);
    else if (this.waiting.size) this.send();
  }

  deliver({ isTakenBack, ...mark }) {
    return isTakenBack ? this.api.remove(`marks/${mark.id}?at_ms=${mark.at_ms}`) : this.api.post("marks", mark);
  }

  sent(entry, there = entry.isTakenBack ? { at_ms: entry.at_ms } : entry) {
    this.there.set(entry.id, { verdict: there.verdict, at_ms: there.at_ms });
    if (this.waiting.get(entry.id) === entry) {
      this.waiting.delete(entry.id);
      forget("localStorage", OUTBOX + entry.id);
    }
    this.others.postMessage(entry.id);
    this.on.change();
  }
}

/** Whether a studio that said this will never take it. */
const isFinal = ({ kind, status }) => kind === "refused" && status < 500;

/** A value of JSON without halves of characters, which are no text to a server; an imported conversation may have some. */
function wellFormed(value) {
  if (typeof value === "string") return value.toWellFormed();
  if (Array.isArray(value)) return value.map(wellFormed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, wellFormed(one)]));
}
