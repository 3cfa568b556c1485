/** Progress and lists that are brought up to date in place: what a person has the focus on, or is about to press, stays. */

import { el, setText } from "../element.js";

const CONTROLS = "a, button, input, select, summary";

/** How far something is: a title, words, the button that ends it, and a bar. `show({words, fraction})` brings it up to date. */
export function progressBar(title, button, label) {
  const words = el("span.soft", { dir: "auto" });
  const bar = el("progress", { max: 1, "aria-label": label });
  const shown = el("div.progress", {}, el("div.row", {}, title, words, el("span.space"), button), bar);
  shown.show = ({ words: news = "", fraction = null, hasBar = true }) => {
    setText(words, news);
    bar.hidden = !hasBar;
    if (typeof fraction === "number") bar.value = fraction;
    else bar.removeAttribute("value");
  };
  return shown;
}

/**
 * Shows a row for each item. A row stays as it is while `signature(item)` says the same, and `make(item)` makes another one;
 * the focus stays in its place. The rows are returned.
 */
export function showRows(list, items, { key, signature = JSON.stringify, make }) {
  const before = new Map([...list.children].map((row) => [row.itemKey, row]));
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const left = focused && [...list.children].find((row) => row.contains(focused));
  const rows = items.map((item) => {
    const old = before.get(key(item));
    const itemSignature = signature(item);
    if (old?.itemSignature === itemSignature) return old;
    return Object.assign(make(item), { itemKey: key(item), itemSignature });
  });
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  rows.forEach((row, place) => { if (list.children[place] !== row) list.insertBefore(row, list.children[place] ?? null); });
  if (focused && document.activeElement !== focused) {
    const place = [...left.querySelectorAll(CONTROLS)].indexOf(focused);
    const next = wanted.has(left) ? focused : rows.find((row) => row.itemKey === left.itemKey)?.querySelectorAll(CONTROLS)[place];
    next?.focus({ preventScroll: true });
  }
  return rows;
}

/** The newest beginning of each place. */
const newest = new WeakMap();

/** Begins to show something in a place; the function that comes back says whether nothing else was begun there since. */
export function beginIn(place) {
  const turn = {};
  newest.set(place, turn);
  return () => newest.get(place) === turn;
}
