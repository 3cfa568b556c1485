/** Small things that the browser keeps for this page. Where it does not let a page keep anything, they are forgotten. */

const PREFIX = "gptsmith-";

/** Keeps a text under a name in `localStorage`, or for this tab alone in `sessionStorage`. */
export function keep(area, name, text) {
  try {
    window[area].setItem(PREFIX + name, text);
  } catch {
    // It is full, or not allowed.
  }
}

/** What is kept under a name, or null. */
export function kept(area, name) {
  try {
    return window[area].getItem(PREFIX + name);
  } catch {
    return null;
  }
}

/** The value that is kept as JSON under a name, or null. */
export function keptValue(area, name) {
  try {
    return JSON.parse(kept(area, name));
  } catch {
    return null;
  }
}

/** Forgets what is kept under a name. */
export function forget(area, name) {
  try {
    window[area].removeItem(PREFIX + name);
  } catch {
    // It is not allowed, so nothing is kept.
  }
}

/** The names under which something is kept that begin with a text. */
export function keptNames(area, beginning) {
  try {
    return Object.keys(window[area]).filter((name) => name.startsWith(PREFIX + beginning)).map((name) => name.slice(PREFIX.length));
  } catch {
    return [];
  }
}
