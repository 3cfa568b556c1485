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

/** What the focus is on inside a place, by its name; "" where it is elsewhere. */
export function focusIn(place) {
  const focused = document.activeElement;
  return place.contains(focused) && focused !== place ? nameOf(focused) : "";
}

/** Gives the focus to what has this name in a place; whether there is something. */
export function focusNamed(place, name) {
  const next = name && [...place.querySelectorAll(CONTROLS)].find((one) => !one.disabled && nameOf(one) === name);
  if (next) next.focus({ preventScroll: true });
  return Boolean(next);
}

/** Shows other content in a place; the focus stays on what has the same name there, else it goes to the place. */
export function refill(place, ...content) {
  const focused = focusIn(place);
  fill(place, ...content);
  if (!focused || focusNamed(place, focused)) return;
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
}

const nameOf = (control) => control.ariaLabel ?? control.textContent;
