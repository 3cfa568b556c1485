/** The probability view: a text whose tokens are shaded by how sure the model was, and the alternatives of each. */

import { el, fill, readablePercent } from "./element.js";
import { t } from "./words.js";

/** From which probability on a token is of a shade, the surest first. */
const SHADES = [0.9, 0.6, 0.3, 0.1, 0.02, 0];

/** The shade of a log-probability: 0, which is none, to 5. */
export const shadeOf = (logprob) => SHADES.findIndex((least) => Math.exp(logprob) >= least);

/**
 * Whole characters of a message with the tokens that they are: [{text, start, first, count}], where `start` is the place
 * in the text and `first` the number of the token. Several tokens may be one character.
 */
export function pieces({ text, tokens = [], figures = {} }) {
  const found = [];
  let start = figures.start ?? 0;
  let first = 0;
  let held = [];
  tokens.forEach((token, number) => {
    const bytes = token.bytes ?? new TextEncoder().encode(token.text);
    held.push(...bytes);
    const words = new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(held));
    if (words.endsWith("\ufffd") && number + 1 < tokens.length && held.length < 4) return;
    if (start < text.length) found.push({ text: text.slice(start, start + words.length), start, first, count: number + 1 - first });
    start += words.length;
    first = number + 1;
    held = [];
  });
  return found;
}

/** The word of a message that the model was least sure of; white space and parts of characters are none. */
export function leastSure(node) {
  const found = pieces(node);
  const words = found.filter(({ text, count }) => text.trim() && count === 1);
  return (words.length ? words : found).reduce((one, other) => (node.tokens[other.first].logprob < node.tokens[one.first].logprob ? other : one));
}

/** How surprising a message was to the model: {bits, tokens}, bits a token on average; null where nothing is known. */
export function surprise({ tokens = [] }) {
  if (!tokens.length) return null;
  const sum = tokens.reduce((total, { logprob }) => total - logprob, 0);
  return { bits: sum / Math.LN2 / tokens.length, tokens: tokens.length };
}

/**
 * Shows a message in `target` with its tokens shaded. Only one of them is reached by Tab, the others by arrows.
 * `onPick(piece, button)` is called for the one that a person opens.
 */
export function showShades(target, node, onPick) {
  const found = pieces(node);
  const before = el("span.unshaded", {}, node.text.slice(0, found[0]?.start ?? node.text.length));
  const rest = found.length ? found.at(-1).start + found.at(-1).text.length : node.text.length;
  const spans = found.map((piece, number) => {
    const { logprob } = node.tokens[piece.first];
    const percent = readablePercent(Math.exp(logprob));
    return el(
      `span.token.shade-${shadeOf(logprob)}`,
      { role: "button", tabIndex: number ? -1 : 0, title: percent, "aria-label": `${spoken(piece.text)}, ${percent}`,
        "aria-haspopup": "dialog", data: { number } },
      piece.text,
    );
  });
  fill(target, before, spans, node.text.slice(rest));
  target.onclick = ({ target: clicked }) => {
    const span = clicked.closest(".token");
    if (span) onPick(found[span.dataset.number], span);
  };
  target.onkeydown = (event) => {
    const number = Number(event.target.dataset?.number ?? NaN);
    if (Number.isNaN(number)) return;
    const goal = { ArrowRight: number + 1, ArrowLeft: number - 1, Home: 0, End: spans.length - 1 }[event.key];
    if (goal !== undefined && spans[goal]) {
      spans[number].tabIndex = -1;
      spans[goal].tabIndex = 0;
      spans[goal].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      onPick(found[number], spans[number]);
    } else return;
    event.preventDefault();
  };
}

/** What each shade means. */
export function legend() {
  const named = SHADES.map((least, shade) => el(`li.shade-${shade}`, {}, least ? `${Math.round(least * 100)} %` : t("chat.less")));
  return el("ul.legend", { data: { words: t("chat.at_least") }, "aria-label": t("chat.shades") }, named);
}

/**
 * The alternatives of a piece, as the content of a dialog. `onChoose(alternative)` is called with the one that a person
 * takes; `ends` are spellings of tokens that end a text, and no more than `most` are shown.
 */
export function alternatives(node, piece, ends, onChoose, most = Infinity) {
  const token = node.tokens[piece.first];
  const likeliest = token.alternatives.slice(0, most);
  const listed = likeliest.some(({ text }) => text === token.text) ? likeliest : [...likeliest, token];
  const rows = listed.map((one) => {
    const isWritten = one.text === token.text && String(one.bytes) === String(token.bytes);
    const isEnd = ends.includes(one.text);
    const probability = Math.exp(one.logprob);
    const bar = el("span.bar", { "aria-hidden": "true" }, el("span", {}));
    bar.firstChild.style.width = `${Math.max(1, probability * 100)}%`;
    const name = isEnd ? el("em", {}, t("chat.ends_here")) : el("code", {}, one.bytes ? hexOf(one.bytes) : visible(one.text));
    const label = `${isEnd ? t("chat.text_end") : one.bytes ? t("chat.part_character") : spoken(one.text)}, ${readablePercent(probability)}`;
    return el("li", {}, el(
      `button.alternative${isWritten ? ".is-written" : ""}`,
      { type: "button", disabled: isWritten || Boolean(one.bytes), "aria-label": isWritten ? t("chat.was_written", { label }) : label, onclick: () => onChoose(one, isEnd) },
      name, bar, el("span.percent", {}, readablePercent(probability)),
    ));
  });
  return [
    el("p.soft", {}, piece.count > 1 ? t("chat.one_character", { count: piece.count }) : t("chat.choose_another")),
    el("ol.alternatives", {}, rows),
  ];
}

const hexOf = (bytes) => bytes.map((byte) => `0x${byte.toString(16).padStart(2, "0")}`).join(" ");
export const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || t("chat.nothing");
export const spoken = (text) => (text.trim() === "" ? t({ " ": "chat.space", "\n": "chat.new_line" }[text] ?? "chat.white_space") : text.trim());
