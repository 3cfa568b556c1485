/** What opens over the page: small dialogs beside a button, menus, questions, and words that pass. */

import { el, fill } from "./element.js";

const GAP = 6;
const PASSING_MS = 8000;
let open = null;

/** Opens a dialog beside `anchor`, which gets the focus back. Escape and a click elsewhere close it. */
export function openBeside(anchor, label, content) {
  closeBeside();
  const box = el("div.beside", { role: "dialog", "aria-label": label, tabIndex: -1 }, content);
  document.body.append(box);
  const { left, top, bottom } = anchor.getBoundingClientRect();
  const width = box.offsetWidth;
  const room = { below: innerHeight - bottom - 2 * GAP, above: top - 2 * GAP };
  const isBelow = box.offsetHeight <= room.below || room.below >= room.above;
  box.style.left = `${Math.max(GAP, Math.min(left, innerWidth - width - GAP))}px`;
  box.style.maxHeight = `${isBelow ? room.below : room.above}px`;
  box.style.top = `${isBelow ? bottom + GAP : top - GAP - box.offsetHeight}px`;
  anchor.setAttribute("aria-expanded", "true");
  open = { anchor, box };
  box.addEventListener("keydown", moveByArrows);
  box.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !box.contains(relatedTarget)) closeBeside(); });
  (box.querySelector("button:not(:disabled), input, textarea") ?? box).focus({ preventScroll: true });
}

/** Closes it; `isBack` gives the focus back to what it was opened from. */
export function closeBeside(isBack = false) {
  if (!open) return;
  const { anchor, box } = open;
  open = null;
  box.remove();
  anchor.removeAttribute("aria-expanded");
  if (isBack) anchor.focus({ preventScroll: true });
}

function moveByArrows(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const buttons = [...event.currentTarget.querySelectorAll("button:not(:disabled)")];
  if (buttons.length < 2) return;
  const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
  next?.focus();
  event.preventDefault();
}

/** A menu: [[icon, words, what it does], ...]. */
export function openMenu(anchor, label, entries) {
  const rows = entries.map(([picture, words, action]) =>
    el("button.menu-entry", { type: "button", onclick: () => { closeBeside(true); action(); } }, picture, words));
  openBeside(anchor, label, rows);
}

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && open) {
    closeBeside(true);
    event.stopImmediatePropagation();
  }
}, { capture: true });
addEventListener("pointerdown", ({ target }) => {
  if (open && !open.box.contains(target) && !open.anchor.contains(target)) closeBeside();
});
for (const name of ["resize", "hashchange"]) addEventListener(name, () => closeBeside());

/**
 * Opens a dialog over the page; resolves to the answer that it is closed with. `content(close)` is what stands in it. Escape
 * and another view close it with `none`. The focus goes back to where it was.
 */
export function inDialog(label, content, { none = null, isWide = false } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const over = new AbortController();
    const close = (answer) => {
      over.abort();
      box.remove();
      (before?.isConnected ? before : document.getElementById("main"))?.focus();
      resolve(answer);
    };
    const box = el(isWide ? "dialog.wide" : "dialog", { "aria-label": label, oncancel: (event) => { event.preventDefault(); close(none); } }, content(close));
    box.addEventListener("keydown", (event) => event.stopPropagation());
    addEventListener("hashchange", () => close(none), { signal: over.signal });
    document.body.append(box);
    box.showModal();
  });
}

/** Asks for one line of text; resolves to it, or to null. */
export function askFor(question, { value = "", button = "OK", cancel = "Cancel", kind = "text", hint = "" } = {}) {
  const input = el("input", { type: kind, value, autocomplete: "off" });
  const answer = inDialog(question, (close) => el("form", { onsubmit: (event) => { event.preventDefault(); close(input.value); } },
    el("label", {}, question, input),
    hint && el("p.soft", {}, hint),
    el("div.dialog-buttons", {},
      el("button", { type: "button", onclick: () => close(null) }, cancel),
      el("button.primary", { type: "submit" }, button))));
  input.select();
  return answer;
}

/** Shows words for a while, with a button that does something. */
export function passing(words, button = null, action = null) {
  const place = document.getElementById("notices");
  const box = el("div.passing", { role: "status" }, words);
  if (button) box.append(el("button", { type: "button", onclick: () => { box.remove(); action(); } }, button));
  for (const other of place.querySelectorAll(".passing:not(:has(button))")) other.remove();
  place.append(box);
  // It waits for a person who is at it.
  const pass = () => (box.matches(":hover, :focus-within") ? setTimeout(pass, PASSING_MS) : box.remove());
  setTimeout(pass, PASSING_MS);
}

/** Shows a notice that stays until it is taken away: a function that does that. */
export function lasting(...content) {
  const box = el("div.notice", { role: "alert" }, content);
  document.getElementById("notices").append(box);
  return () => box.remove();
}

/** Says words to people who do not see the page. */
export function speak(words) {
  fill(document.getElementById("spoken"), words);
}
