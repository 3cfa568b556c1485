/** What a browser fetches by itself: downloads, and pages beside this one. */

import { el } from "../element.js";

/** Saves an answer of the studio as a file. */
export async function save(api, path, name = "") {
  el("a", { href: await api.link(path), download: name }).click();
}

/** Opens a page of the studio beside this one, in a tab that is opened at once: later a browser would not let it. */
export async function openBesides(api, path) {
  const opened = open("", "_blank");
  try {
    const address = await api.link(path);
    if (opened) opened.location.replace(address);
    else location.assign(address);
  } catch (error) {
    opened?.close();
    throw error;
  }
}
