/** A place that is brought up to date: what a person has the focus on, or is about to press, stays in it. */

import { fill } from "../element.js";

const CONTROLS = "a, button, input, select, summary";

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

/** Shows other content in a place; the focus stays on what has the same name there, else it goes to the place. */
export function refill(place, ...content) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  fill(place, ...content);
  if (!focused || focused.isConnected) return;
  const next = [...place.querySelectorAll(CONTROLS)].find((one) => !one.disabled && nameOf(one) === nameOf(focused));
  if (!next) place.tabIndex = -1;
  (next ?? place).focus({ preventScroll: true });
}

const nameOf = (control) => control.ariaLabel ?? control.textContent;
