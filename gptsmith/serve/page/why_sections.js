/** The sections of an explanation: what the server found, as sentences, bars and shades with buttons. No text ever becomes markup. */

import { el, readablePercent } from "./element.js";
import { alternatives, spoken, visible } from "./shades.js";
import { t } from "./words.js";

const NUM_STRONGEST = 4;
const NUM_PARTS = 6;
const NUM_SOURCES = 3;
const NUM_CONTRASTS = 5;
const NUM_ALTERNATIVES = 5;
/** How many characters before a word are shown with it. */
const EXCERPT = 80;
/** Below which fraction of the largest change a unit is not shaded. */
const FAINT = 0.08;

/** How sure the model was: the alternatives as bars, and the surprise in bits. */
export function howSure(node, piece, ends, onChoose) {
  const { logprob } = node.tokens[piece.first];
  const bits = -logprob / Math.LN2;
  const begun = node.text.slice(0, piece.start);
  return [
    el("p.excerpt", { dir: "auto" }, begun.length > EXCERPT ? `… ${begun.slice(-EXCERPT).trimStart()}` : begun, el("strong", {}, piece.text)),
    el("p.says", {}, t("why.gave", { word: spoken(piece.text), percent: readablePercent(Math.exp(logprob)), words: surpriseWords(bits), bits: bits.toFixed(1) })),
    alternatives(node, piece, ends, onChoose, NUM_ALTERNATIVES),
  ];
}

const surpriseWords = (bits) => t(bits < 0.5 ? "why.certain" : bits < 1.5 ? "why.fairly_sure" : bits < 4 ? "why.hesitated" : "why.surprise");

/** The words before it, shaded by what changes without them. `onRemove(place)` is called for one that a person takes away. */
export function ofYourWords(found, question, onRemove) {
  const claim = found.claims.find(({ kind }) => kind === "leave_one_out");
  const items = (claim?.items ?? []).map((item) => ({ ...item, place: question.place(item) })).filter(({ place }) => place?.text.trim());
  if (!items.length) return [el("p.soft", {}, claim?.says || t("why.no_words"))];
  const largest = Math.max(...items.map(({ change }) => Math.abs(change)));
  const remove = (item) => el("button", { type: "button", "aria-label": t("why.remove_and_write", { words: item.place.text.trim() }), onclick: () => onRemove(item.place) }, t("why.remove"));
  const strongest = byStrength(items.some(isNamed) ? items.filter(isNamed) : items).slice(0, NUM_STRONGEST);
  return [
    el("p.says", {}, claim.says),
    el("div.read", { role: "group", "aria-label": t("why.shaded") }, question.texts.map(({ author, text }, number) => el("div", {},
      question.texts.length > 1 && el("p.soft", {}, author), el("p.shaded", { dir: "auto" }, shaded(text, items.filter(({ place }) => place.number === number), largest))))),
    el("ol.strongest", {}, strongest.map((item) => el("li", {},
      el("q", { dir: "auto" }, clipped(item.place.text.trim())), el("p.soft", {}, withoutIt(item.change, found)),
      item.place.id === null ? el("span.soft", {}, t("why.in_settings")) : remove(item)))),
  ];
}

const isNamed = ({ is_named: named }) => named;
const byStrength = (items) => [...items].sort((one, other) => Math.abs(other.change) - Math.abs(one.change));

function shaded(text, items, largest) {
  const content = [];
  let last = 0;
  for (const { place: { start, stop }, change } of [...items].sort((one, other) => one.place.start - other.place.start)) {
    if (start < last) continue;
    const share = largest ? Math.abs(change) / largest : 0;
    const mark = el(`mark${share < FAINT ? "" : change > 0 ? ".for" : ".against"}`, { title: t(change > 0 ? "why.for_it" : "why.against_it", { nats: nats(change) }) }, text.slice(start, stop));
    mark.style.setProperty("--share", `${Math.round(share * 100)}%`);
    content.push(text.slice(last, start), mark);
    last = stop;
  }
  return [...content, text.slice(last)];
}

/** A change of the difference in words: how many times likelier or less likely the word is, against the other one. */
function withoutIt(change, { target, against }) {
  const times = Math.exp(Math.abs(change));
  if (times < 1.05) return t("why.no_change");
  const values = { word: spoken(target.text), times: times < 100 ? times.toPrecision(2) : t("why.over_100") };
  if (!against) return t(change > 0 ? "why.less_likely" : "why.likelier", values);
  return t(change > 0 ? "why.less_likely_than" : "why.likelier_than", { ...values, other: spoken(against.text) });
}

/** Other words as the contrast: `onChoose(text)`. */
export function contrasts(found, onChoose) {
  const claim = found.claims.find(({ kind }) => kind === "alternatives");
  const others = (claim?.items ?? []).filter(({ text }) => text !== found.target.text && !text.includes("\ufffd")).slice(0, NUM_CONTRASTS);
  if (!found.against) return [el("p.soft", {}, t("why.no_other"))];
  return [
    el("p.says", {}, t("why.rather_than", { word: spoken(found.target.text), other: spoken(found.against.text), percent: readablePercent(found.target.probability), other_percent: readablePercent(found.against.probability) })),
    others.length > 0 && el("p.soft", {}, t("why.choose_other")),
    el("div.chips", {}, others.map((one) => el("button.chip", { type: "button", "aria-pressed": String(one.text === found.against.text), onclick: () => onChoose(one.text) },
      el("code", {}, visible(one.text)), " ", readablePercent(Math.exp(one.change))))),
  ];
}

/** Where the answer around a word stands in the texts that the model learnt from; `start` is the word's place in it. */
export function yourTexts({ sources, missing = [] }, start, onForget) {
  const holdsWord = (source) => Number(source.text_start <= start && start < source.text_stop);
  const shown = [...sources].sort((one, other) => holdsWord(other) - holdsWord(one) || other.num_tokens - one.num_tokens).slice(0, NUM_SOURCES);
  return [
    !shown.length && el("p.says", {}, t("why.not_found")),
    shown.length > 0 && !holdsWord(shown[0]) && el("p.says", {}, t("why.near_it")),
    el("ol.sources", {}, shown.map((source) => passage(source, onForget))),
    missing.map((why) => el("p.soft", {}, `${why}.`)),
  ];
}

function passage(source, onForget) {
  const { file, line, where, before, passage: words, after, num_tokens: tokens, num_copies: copies, held_out_share: share, state } = source;
  const result = el("div", {});
  return el("li", {},
    el("blockquote", { dir: "auto" }, before, el("strong", {}, words), after),
    el("p.soft", {}, el("code", {}, line ? `${file}:${line}` : where ? `${file}, ${where}` : file), ` · ${t("chat.num_tokens", { count: tokens })}`, copies > 1 && `, ${t("why.times", { count: copies })}`),
    typeof share === "number" && el("p.soft", {}, t("why.by_chance", { percent: readablePercent(share) })),
    state !== "unchanged" && el("p.problem", {}, t(state === "missing" ? "why.file_missing" : "why.file_changed")),
    el("button", { type: "button", onclick: () => onForget(source, result) }, t("why.forget")), result);
}

/** Where in the network it was decided, and by which parts; `onSwitchOff(item, box)` for one that a person takes away. */
export function inside(found, onSwitchOff) {
  const lens = found.claims.find(({ kind }) => kind === "logit_lens");
  const parts = found.claims.find(({ kind }) => kind === "direct_logit_attribution");
  return [lens && depth(lens), parts && bars(parts, onSwitchOff)];
}

/** What would have been written after each block; neighbours that agree are one row. */
function depth({ says, items }) {
  const runs = [];
  for (const { part, text, is_named: isDecided } of items) {
    const block = /^blocks\.(\d+)\.output$/.exec(part)?.[1];
    const last = runs.at(-1);
    if (block !== undefined && !isDecided && last?.first !== undefined && last.text === text) last.last = block;
    else runs.push({ first: block, last: block, text, isDecided });
  }
  const rows = runs.map(({ text, isDecided, ...run }) => el(`li${isDecided ? ".is-decided" : ""}`, {}, el("span", {}, readAfter(run)), el("code", {}, visible(text))));
  return [el("p.says", {}, says), rows.length > 0 && el("details.depth", {}, el("summary", {}, t("why.head_reads")), el("ol", {}, rows))];
}

function readAfter({ first, last }) {
  if (first === undefined) return t("why.before_first");
  return t(first === last ? "why.after_block" : "why.after_blocks", { first, last });
}

function bars({ says, items }, onSwitchOff) {
  const strongest = byStrength(items).slice(0, NUM_PARTS);
  const largest = Math.max(...strongest.map(({ change }) => Math.abs(change)));
  const rows = strongest.map((item) => {
    const bar = el(`span.bar${item.change < 0 ? ".against" : ""}`, { "aria-hidden": "true" }, el("span", {}));
    bar.firstChild.style.width = `${largest ? Math.max(1, (Math.abs(item.change) / largest) * 100) : 1}%`;
    const result = el("div", {});
    return el("li", {}, el("span.name", {}, item.text), bar, el("span.percent", {}, nats(item.change)),
      item.part?.startsWith("blocks.") && el("button", { type: "button", "aria-label": t("why.switch_off_part", { part: item.text }), onclick: () => onSwitchOff(item, result) }, t("why.switch_off")), result);
  });
  return [el("p.says", {}, says), rows.length > 0 && el("ol.parts", {}, rows)];
}

const VERDICTS = {
  holds: "why.holds",
  "no better than chance": "why.chance",
  "not tested": "why.untested",
};
const KINDS = { leave_one_out: "why.your_words", direct_logit_attribution: "why.parts", logit_lens: "why.depth", alternatives: "why.how_sure" };

/** Whether it can be trusted: the test beside each claim, what is left unexplained, and the checks of this model. */
export function trust(claims, checks) {
  const judged = claims.filter(({ kind, items }) => kind !== "alternatives" && items.length);
  return [
    judged.map((claim) => {
      const verdict = VERDICTS[claim.verdict];
      const [name, meaning] = verdict ? [t(verdict), t(`${verdict}_why`)] : [claim.verdict, ""];
      return el("div.verdict", {},
        el("p", {}, el("strong", {}, t("why.kind", { kind: claim.kind in KINDS ? t(KINDS[claim.kind]) : claim.kind })), el(`span.seal${claim.verdict === "holds" ? ".holds" : ""}`, {}, name)),
        el("p.soft", {}, claim.why || meaning), claim.test && el("p.soft", {}, testWords(claim.test)),
        typeof claim.rest === "number" && claim.kind !== "logit_lens" && el("p.soft", {}, t("why.unexplained", { nats: nats(Math.abs(claim.rest)) })));
    }),
    !judged.length && el("p.soft", {}, t("why.nothing_tested")),
    checks.length > 0 && el("details", {}, el("summary", {}, t("why.checks", { holding: checks.filter(({ holds }) => holds).length, count: checks.length })),
      el("table", {}, el("tbody", {}, checks.map((one) => el("tr", {}, el("th", { scope: "row" }, one.says), el("td", {}, verdictOf(one))))))),
  ];
}

const verdictOf = ({ error, holds, bound, why }) => {
  if (error === null) return why;
  return t(holds ? "why.check_holds" : "why.check_fails", { error: error.toExponential(1), bound: bound.toExponential(0) });
};

function testWords({ num_removed: count, change, random_mean: mean, random_interval: interval, num_random: times, p_value: chance }) {
  const usual = interval ? ` (${interval.map((one) => one.toFixed(2)).join(" to ")})` : "";
  return t(count === 1 ? "why.test_one" : "why.test", { count, times, usual, change: nats(change), mean: nats(mean), percent: readablePercent(chance) });
}

const nats = (value) => `${value > 0 ? "+" : ""}${value.toFixed(2)} nats`;
const clipped = (text) => (text.length > 90 ? `${text.slice(0, 88).trimEnd()} …` : text);
