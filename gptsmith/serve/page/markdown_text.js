/**
 * The text of a block to nodes. First it becomes tokens. A token is a text, or an element that is made already; before it
 * some elements may end (`closes`: how each end is written), and after it some may begin (`opens`).
 */

import { make } from "./element.js";

export const MOST_NESTED = 32;
const SPECIAL = /[\\`*_~[\]!<&$\n]/g;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ENTITY = /&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z][a-z0-9]{1,31}));/giy;
const ANGLED = /<([a-z][a-z0-9+.-]{1,31}:[^\s<>]*|[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*)>/iy;
const ADDRESS = /(?<![\p{L}\p{N}])https?:\/\/|(?<=^|[\s*_~(])www\.|(?<![a-z0-9.+-])[a-z0-9][\w.+-]{0,63}@/giu;
const HOST = /(?:https?:\/\/|www\.)[\p{L}\p{N}_-]{1,63}(?:\.[\p{L}\p{N}_-]{1,63})*/iuy;
const MAIL = /[a-z0-9][\w.+-]{0,63}@[a-z0-9-]{1,63}(?:\.[\w-]{1,63})+(?<![_-])/iy;
/** A $ that can end mathematics: no space before it, no digit after it, as a price has. */
const CLOSING_DOLLARS = { 1: /(?<=[^\s\\$])\$(?![\d$])/g, 2: /\$\$/g };
const ESCAPES = new RegExp(`\\\\(${ESCAPABLE.source})|${ENTITY.source}`, "gi");
const MOST_PARENTHESES = 32;
const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
const ENTITIES = new Map(
  Object.entries({
    amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", reg: "®", trade: "™", hellip: "…", mdash: "—",
    ndash: "–", lsquo: "‘", rsquo: "’", ldquo: "“", rdquo: "”", laquo: "«", raquo: "»", bull: "•", middot: "·", times: "×",
    divide: "÷", plusmn: "±", minus: "−", deg: "°", micro: "µ", para: "¶", sect: "§", euro: "€", pound: "£", yen: "¥", cent: "¢",
    frac12: "½", frac14: "¼", frac34: "¾", sup2: "²", sup3: "³", larr: "←", uarr: "↑", rarr: "→", darr: "↓", harr: "↔", rArr: "⇒",
    hArr: "⇔", le: "≤", ge: "≥", ne: "≠", asymp: "≈", equiv: "≡", infin: "∞", sum: "∑", prod: "∏", radic: "√", int: "∫", part: "∂",
    nabla: "∇", isin: "∈", forall: "∀", exist: "∃", empty: "∅", cap: "∩", cup: "∪", sub: "⊂", sup: "⊃", and: "∧", or: "∨",
    alpha: "α", beta: "β", gamma: "γ", delta: "δ", epsilon: "ε", theta: "θ", lambda: "λ", mu: "μ", pi: "π", sigma: "σ", tau: "τ",
    phi: "φ", omega: "ω", Delta: "Δ", Sigma: "Σ", Omega: "Ω", auml: "ä", ouml: "ö", uuml: "ü", Auml: "Ä", Ouml: "Ö", Uuml: "Ü",
    szlig: "ß", eacute: "é", egrave: "è", agrave: "à", ccedil: "ç", ntilde: "ñ", iexcl: "¡", iquest: "¿", check: "✓", star: "☆",
    lbrace: "{", rbrace: "}", lbrack: "[", rbrack: "]", lpar: "(", rpar: ")", ast: "*", lowbar: "_", grave: "`", bsol: "\\",
    vert: "|", num: "#", colon: ":", Tab: "\t", NewLine: "\n", shy: "\u00ad", zwj: "\u200d", zwnj: "\u200c", ensp: "\u2002",
    emsp: "\u2003", thinsp: "\u2009",
  }),
);

/** Reads the text of a block from its beginning to its end. */
class Text {
  constructor(text) {
    this.text = text;
    this.place = 0;
    this.tokens = [];
    this.lastRun = null;
    /** Ends of mathematics that do not come any more. */
    this.unclosed = new Set();
    this.brackets = [];
    /** How many brackets, from the first, cannot begin a link, because there is one in them. */
    this.numDead = 0;
    this.special = -1;
    this.closingDollars = { 1: -1, 2: -1 };
    this.address = /:\/\/|www\.|@/i.test(text) ? -1 : text.length;
  }

  read() {
    while (this.place < this.text.length) {
      this.special = this.nextOf(SPECIAL, this.special, this.place);
      this.address = this.nextOf(ADDRESS, this.address, this.place);
      const end = Math.min(this.special, this.address);
      if (end > this.place) this.plain(end);
      else if (this.address > this.place) this.readSpecial(this.text[this.place]);
      else this.readAddress();
    }
    matchRuns(this.lastRun, null);
    return this.tokens;
  }

  /** Where an expression is found next; it is looked for only where what was found lies behind. */
  nextOf(expression, found, from) {
    if (found >= from) return found;
    expression.lastIndex = from;
    return expression.exec(this.text)?.index ?? this.text.length;
  }

  say(text, length = text.length) {
    this.tokens.push({ text });
    this.place += length;
  }

  /** Text in which nothing is special, without the spaces at the end of a line. */
  plain(end) {
    const length = end - this.place;
    const numSpaces = this.text[end] === "\n" ? spacesBefore(this.text, end) : 0;
    this.say(this.text.slice(this.place, end - Math.min(numSpaces, length)), length);
  }

  readSpecial(character) {
    if (character === "\\") this.readEscape();
    else if (character === "`") this.readCode();
    else if (character === "$") this.readDollars();
    else if ("*_~".includes(character)) this.readRun(character);
    else if (character === "[") this.readBracket("[");
    else if (character === "!" && this.text[this.place + 1] === "[") this.readBracket("![");
    else if (character === "]") this.readClosing();
    else if (character === "<") this.readAngled();
    else if (character === "&") this.readEntity();
    else if (character === "\n" && spacesBefore(this.text, this.place) >= 2) this.putElement(make("br"), 1);
    else this.say(character);
  }

  putElement(element, length) {
    this.tokens.push({ element });
    this.place += length;
  }

  readEscape() {
    const next = this.text.charAt(this.place + 1);
    if (next === "\n") this.putElement(make("br"), 2);
    else if ((next === "(" || next === "[") && this.readMath(next === "(" ? "\\)" : "\\]")) return;
    else if (ESCAPABLE.test(next)) this.say(next, 2);
    else this.say("\\");
  }

  /** Mathematics from here to what closes it, as it is written; false where nothing does. */
  readMath(closing) {
    if (this.unclosed.has(closing)) return false;
    const end = this.text.indexOf(closing, this.place + 2);
    if (end < 0) {
      this.unclosed.add(closing);
      return false;
    }
    this.putMath(end + 2);
    return true;
  }

  readDollars() {
    const length = this.text.startsWith("$$", this.place) ? 2 : 1;
    const start = this.place + length;
    const opens = length === 2 || !SPACE.test(characterAt(this.text, start));
    const end = opens ? this.nextOf(CLOSING_DOLLARS[length], this.closingDollars[length], start + 1) : this.text.length;
    if (opens) this.closingDollars[length] = end;
    if (end < this.text.length) this.putMath(end + length);
    else this.say("$".repeat(length));
  }

  putMath(end) {
    this.putElement(make("span", { class: "math", dir: "ltr" }, this.text.slice(this.place, end)), end - this.place);
  }

  readEntity() {
    ENTITY.lastIndex = this.place;
    const found = ENTITY.exec(this.text);
    if (found) this.say(meaningOf(found), found[0].length);
    else this.say("&");
  }

  readCode() {
    const length = runLength(this.text, this.place);
    const start = this.place + length;
    const end = this.endOfCode(start, length);
    if (end === null) return this.say("`".repeat(length));
    const code = this.text.slice(start, end).replaceAll("\n", " ");
    const isPadded = code.startsWith(" ") && code.endsWith(" ") && code.trim();
    this.putElement(make("code", { dir: "ltr" }, isPadded ? code.slice(1, -1) : code), end + length - this.place);
  }

  /** Where backquotes of the same number come, or null. Where the last ones of each number are is looked up once. */
  endOfCode(from, length) {
    this.lastQuotes ??= new Map(Array.from(this.text.matchAll(/`+/g), ({ index, 0: quotes }) => [quotes.length, index]));
    if (!(this.lastQuotes.get(length) >= from)) return null;
    for (let place = this.text.indexOf("`", from); ; ) {
      const found = runLength(this.text, place);
      if (found === length) return place;
      place = this.text.indexOf("`", place + found);
    }
  }

  /** Characters that may begin or end emphasis: whether they may is known by what is on both sides. */
  readRun(mark) {
    const length = runLength(this.text, this.place);
    const [before, after] = [characterBefore(this.text, this.place), characterAt(this.text, this.place + length)];
    const isBeforeWord = !SPACE.test(after) && (!PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before));
    const isAfterWord = !SPACE.test(before) && (!PUNCTUATION.test(before) || SPACE.test(after) || PUNCTUATION.test(after));
    const isWhole = mark !== "_";
    const isAllowed = mark !== "~" || length < 3;
    const run = {
      mark,
      size: length,
      text: mark.repeat(length),
      canOpen: isAllowed && isBeforeWord && (isWhole || !isAfterWord || PUNCTUATION.test(before)),
      canClose: isAllowed && isAfterWord && (isWhole || !isBeforeWord || PUNCTUATION.test(after)),
      opens: [],
      closes: [],
      number: this.tokens.length,
      previous: this.lastRun,
      next: null,
    };
    if (this.lastRun) this.lastRun.next = run;
    this.lastRun = run;
    this.tokens.push(run);
    this.place += length;
  }

  readBracket(text) {
    const token = { text, opens: [] };
    this.brackets.push({ token, runBefore: this.lastRun });
    this.tokens.push(token);
    this.place += text.length;
  }

  /** A bracket that closes ends a link where an address in parentheses follows. */
  readClosing() {
    const bracket = this.brackets.pop();
    const isImage = bracket?.token.text === "![";
    const isAlive = bracket && (isImage || this.brackets.length >= this.numDead);
    this.numDead = Math.min(this.numDead, this.brackets.length);
    const target = isAlive ? targetOf(this.text, this.place + 1) : null;
    if (!target) return this.say("]");
    if (!isImage) this.numDead = this.brackets.length;
    matchRuns(this.lastRun, bracket.runBefore);
    this.lastRun = bracket.runBefore;
    if (this.lastRun) this.lastRun.next = null;
    const { token } = bracket;
    token.opens.push({ tag: "a", written: token.text, address: addressOf(target.text) });
    token.text = "";
    this.tokens.push({ text: "", closes: [this.text.slice(this.place, target.end)] });
    this.place = target.end;
  }

  readAngled() {
    ANGLED.lastIndex = this.place;
    const found = ANGLED.exec(this.text);
    const address = found && addressOf(/^[a-z][a-z0-9+.-]*:/i.test(found[1]) ? found[1] : `mailto:${found[1]}`);
    if (address) this.putLink(found[1], address, found[0].length);
    else this.say("<");
  }

  /** An address without anything around it. What turns out to be none is not looked at again. */
  readAddress() {
    const text = this.hostAddress() ?? this.mailAddress() ?? "";
    const scheme = text.includes("://") ? "" : text.includes("@") && !/^www\./i.test(text) ? "mailto:" : "http://";
    const address = addressOf(scheme + text);
    if (address) this.putLink(text, address, text.length);
    else this.address = this.nextOf(ADDRESS, this.address, this.place + Math.max(1, text.length));
  }

  hostAddress() {
    HOST.lastIndex = this.place;
    const host = HOST.exec(this.text)?.[0];
    if (!host) return null;
    const rest = this.brackets.length ? /[^\s<\]]*/y : /[^\s<]*/y;
    rest.lastIndex = this.place + host.length;
    return withoutEnd(host + rest.exec(this.text)[0]);
  }

  mailAddress() {
    MAIL.lastIndex = this.place;
    return MAIL.exec(this.text)?.[0] ?? null;
  }

  putLink(text, address, length) {
    this.tokens.push({ text, link: address });
    this.place += length;
  }
}

function spacesBefore(text, place) {
  let start = place;
  while (text[start - 1] === " ") start -= 1;
  return place - start;
}

/** The whole character before a place; a space at the beginning. */
function characterBefore(text, place) {
  return [...text.slice(Math.max(0, place - 2), place)].at(-1) ?? " ";
}

function characterAt(text, place) {
  return place < text.length ? String.fromCodePoint(text.codePointAt(place)) : " ";
}

function meaningOf([written, hexadecimal, decimal, name]) {
  if (name) return ENTITIES.get(name) ?? written;
  const code = hexadecimal ? parseInt(hexadecimal, 16) : Number(decimal);
  const isCharacter = code > 0 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  return isCharacter ? String.fromCodePoint(code) : "\ufffd";
}

/** What a text means in which backslashes and entities stand. */
export function unescaped(text) {
  return text.replace(ESCAPES, (written, escaped, ...groups) => escaped ?? meaningOf([written, ...groups]));
}

/** The address in parentheses at a place, and where they end; null where there is none. A title is passed over. */
function targetOf(text, place) {
  if (text[place] !== "(") return null;
  const start = afterSpace(text, place + 1);
  const end = text[start] === "<" ? endOfAngled(text, start) : endOfBare(text, start);
  if (end === null) return null;
  let close = afterSpace(text, end);
  if (close > end && `"'(`.includes(text.charAt(close) || " ")) close = afterTitle(text, close);
  if (close === null || text[close] !== ")") return null;
  const written = text[start] === "<" ? text.slice(start + 1, end - 1) : text.slice(start, end);
  return { text: unescaped(written), end: close + 1 };
}

function afterSpace(text, place) {
  let end = place;
  while (end < text.length && SPACE.test(text[end])) end += 1;
  return end;
}

function endOfAngled(text, start) {
  for (let place = start + 1; place < text.length; place += 1) {
    if (text[place] === ">") return place + 1;
    if (text[place] === "<" || text[place] === "\n") return null;
    if (text[place] === "\\") place += 1;
  }
  return null;
}

function endOfBare(text, start) {
  let depth = 0;
  let place = start;
  for (; place < text.length && !/[\s\x00-\x1f]/.test(text[place]); place += 1) {
    if (text[place] === "\\" && ESCAPABLE.test(text.charAt(place + 1))) place += 1;
    else if (text[place] === "(") depth += 1;
    else if (text[place] === ")") depth -= 1;
    if (depth < 0) return place;
    if (depth > MOST_PARENTHESES) return null;
  }
  return depth ? null : place;
}

function afterTitle(text, start) {
  const closing = text[start] === "(" ? ")" : text[start];
  for (let place = start + 1; place < text.length; place += 1) {
    if (text[place] === closing) return afterSpace(text, place + 1);
    if (text[place] === "(" && closing === ")") return null;
    if (text[place] === "\\") place += 1;
  }
  return null;
}

/** An address as a browser reads it, where a link may lead there, or null. */
function addressOf(text) {
  if (!URL.canParse(text)) return null;
  const url = new URL(text);
  return PROTOCOLS.has(url.protocol) ? url.href : null;
}

/** An address without what belongs to the sentence around it. */
function withoutEnd(text) {
  let end = text.length;
  let numUnopened = text.split(")").length - text.split("(").length;
  for (;;) {
    const last = text.charAt(end - 1);
    const entity = last === ";" ? /&[a-z0-9]{1,31};$/i.exec(text.slice(Math.max(0, end - 33), end)) : null;
    if (/[?!.,:*_~'"]/.test(last)) end -= 1;
    else if (last === ")" && numUnopened > 0) {
      end -= 1;
      numUnopened -= 1;
    } else if (entity) end -= entity[0].length;
    else return text.slice(0, end);
  }
}

/** Finds which characters after a place begin and end emphasis together, as CommonMark describes it. What was looked for
 * in vain is not looked for again (`floors`). */
function matchRuns(last, bottom) {
  if (last === bottom) return;
  const floors = new Map();
  let closer = last;
  while (closer && closer.previous !== bottom) closer = closer.previous;
  while (closer) {
    const { next } = closer;
    if (!closer.canClose) {
      closer = next;
      continue;
    }
    const key = `${closer.mark}${closer.canOpen}${closer.mark === "~" ? closer.size : closer.size % 3}`;
    const floor = floors.get(key) ?? bottom?.number ?? -1;
    let opener = closer.previous;
    while (opener && opener.number > floor && !belongTogether(opener, closer)) opener = opener.previous;
    if (opener && opener.number > floor) {
      closer = matched(opener, closer);
    } else {
      floors.set(key, closer.previous?.number ?? -1);
      if (!closer.canOpen) unlink(closer);
      closer = next;
    }
  }
}

function belongTogether(opener, closer) {
  if (opener.mark !== closer.mark || !opener.canOpen) return false;
  if (opener.mark === "~") return opener.size === closer.size;
  const isEither = opener.canClose || closer.canOpen;
  return !isEither || (opener.size + closer.size) % 3 !== 0 || (opener.size % 3 === 0 && closer.size % 3 === 0);
}

/** Makes emphasis of two runs; says which run is looked at next. */
function matched(opener, closer) {
  const length = opener.mark === "~" ? opener.size : Math.min(2, opener.text.length, closer.text.length);
  const written = opener.mark.repeat(length);
  opener.text = opener.text.slice(length);
  closer.text = closer.text.slice(length);
  opener.opens.push({ tag: opener.mark === "~" ? "del" : length === 2 ? "strong" : "em", written });
  closer.closes.push(written);
  opener.next = closer;
  closer.previous = opener;
  if (!opener.text) unlink(opener);
  if (closer.text) return closer;
  unlink(closer);
  return closer.next;
}

function unlink(run) {
  if (run.previous) run.previous.next = run.next;
  if (run.next) run.next.previous = run.previous;
}

/** Puts the nodes of a text into an element. */
export function withText(target, text) {
  const writer = new Writer(target);
  for (const token of new Text(text).read()) {
    token.closes?.forEach((written) => writer.leave(written));
    if (token.link) writer.enter({ tag: "a", address: token.link, written: "" });
    if (token.element) writer.put(token.element);
    else writer.pending += token.text;
    if (token.link) writer.leave("");
    token.opens?.toReversed().forEach((opening) => writer.enter(opening));
  }
  writer.flush();
  return target;
}

class Writer {
  constructor(target) {
    this.element = target;
    this.pending = "";
    this.open = [];
  }

  flush() {
    if (this.pending) this.element.append(this.pending);
    this.pending = "";
  }

  put(element) {
    this.flush();
    this.element.append(element);
  }

  /** What is nested too deep is shown as it is written. A link in a link, or to where none may lead, is its text. */
  enter({ tag, written, address }) {
    const isTooDeep = this.open.length >= MOST_NESTED;
    const isText = isTooDeep || (tag === "a" && (!address || this.element.closest("a")));
    this.open.push({ outer: isText ? null : this.element, isTooDeep });
    if (isTooDeep) this.pending += written;
    if (isText) return;
    const element = tag === "a" ? linkElement(address) : make(tag);
    this.put(element);
    this.element = element;
  }

  leave(written) {
    const { outer, isTooDeep } = this.open.pop();
    if (isTooDeep) this.pending += written;
    if (!outer) return;
    this.flush();
    // A link without words, as that of an image may be, shows where it leads.
    const address = this.element.getAttribute("href");
    if (address && !this.element.hasChildNodes()) this.element.append(address);
    this.element = outer;
  }
}

function linkElement(address) {
  return make("a", { href: address, rel: "noopener noreferrer nofollow", target: "_blank" });
}

/** How often the character that stands there comes one after another. */
export function runLength(text, place) {
  let end = place;
  while (end < text.length && text[end] === text[place]) end += 1;
  return end - place;
}
