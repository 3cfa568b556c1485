/** What the studio's pages ask of its server. */

import { forget, keep, kept } from "../memory.js";
import { ServerError } from "../server.js";
import { t } from "./words.js";

const BASE = new URL("../..", import.meta.url);
const TOKEN = "token";
/** How long a page that cannot reach the studio waits before it tries again. */
const AGAIN_MS = 2000;

/** Takes the token out of the address that the studio printed, and keeps it; whether there was one. */
export function enter() {
  const found = /^#token=([\w-]+)$/.exec(location.hash);
  if (!found) return false;
  keep("localStorage", TOKEN, found[1]);
  history.replaceState(null, "", "#/");
  dispatchEvent(new HashChangeEvent("hashchange"));
  return true;
}

/** The token that lets this browser in; empty without one. */
export const token = () => kept("localStorage", TOKEN) ?? "";

/** Requests of one view; they end when it is left. */
export class Api {
  /** `onSilence(isSilent)` is told when the studio does not answer, and when it does again. */
  constructor(signal, onSilence = () => {}) {
    Object.assign(this, { signal, onSilence });
  }

  get(path, query = {}) {
    return this.ask("GET", path, { query });
  }

  post(path, body = {}) {
    return this.ask("POST", path, { body: JSON.stringify(body), type: "application/json" });
  }

  /** Sends bytes. */
  put(path, bytes, query = {}) {
    return this.ask("PUT", path, { body: bytes, type: "application/octet-stream", query });
  }

  remove(path) {
    return this.ask("DELETE", path);
  }

  /** Calls `onNews` with the answer now and every so often, until the view is left or it returns false. A studio that
   *  does not answer is asked again; so is one that fails after it has answered. */
  async follow(path, onNews, { everyMs = 1500, query = {} } = {}) {
    let hasAnswered = false;
    while (!this.signal.aborted) {
      let wait = everyMs;
      try {
        const news = await this.get(path, typeof query === "function" ? query() : query);
        hasAnswered = true;
        this.onSilence(false);
        if (onNews(news) === false) return;
      } catch (error) {
        if (this.signal.aborted) return;
        if (error.kind !== "gone" && !(hasAnswered && error.status >= 500)) throw error;
        this.onSilence(true);
        wait = AGAIN_MS;
      }
      await paused(wait, this.signal);
    }
  }

  /** An address for a link, which opens it once within a minute. */
  async link(path) {
    const { ticket } = await this.post("tickets", { path: `/studio/api/${path}` });
    return new URL(`studio/api/${path}${path.includes("?") ? "&" : "?"}ticket=${ticket}`, BASE).href;
  }

  async ask(method, path, { body, type, query = {} } = {}) {
    const url = new URL(`studio/api/${path}`, BASE);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const sent = token();
    const headers = { Authorization: `Bearer ${sent}`, ...(type && { "Content-Type": type }) };
    let answer;
    try {
      answer = await fetch(url, { method, headers, body, signal: this.signal, cache: "no-store" });
    } catch (error) {
      if (this.signal?.aborted) throw error;
      throw new ServerError("gone", t("trouble.gone"));
    }
    const told = await answer.json().catch(() => ({}));
    if (answer.ok) return told;
    if (answer.status === 401) {
      if (sent === token()) forget("localStorage", TOKEN); // another tab may have a newer one
      throw new ServerError("key", t("trouble.key"));
    }
    if (answer.status === 503) throw new ServerError("gone", t("trouble.gone"));
    throw new ServerError("refused", told.error?.message ?? t("trouble.failed", { status: answer.status }), { status: answer.status, code: told.error?.code });
  }
}

/** Waits; resolves at once when the view is left. */
export const paused = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});
