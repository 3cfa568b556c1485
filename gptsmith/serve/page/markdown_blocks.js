/** Lines to blocks. */

import { MOST_NESTED, runLength, unescaped } from "./markdown_text.js";

const LINE_END = /\r\n?|\n/g;
const MARKER = /(?:[-+*]|(\d{1,9})[.)])(?=[ \t]|$)/y;
const CONTAINERS = new Set(["document", "quote", "item"]);
const VERBATIM = new Set(["code", "math"]);
const MATH = { "\\[": "\\]", $$: "$$" };
const LEAVES = new Set(["paragraph", "table"]);

/** The blocks of a text from a place on at which one begins. Each says where it begins itself. */
export function blocksOf(text, from) {
  const blocks = new Blocks();
  for (let start = from; start < text.length; ) {
    const end = Math.min(text.length, lineEnd(text, start));
    blocks.add(text.slice(start, end).replace(/[\r\n]/g, ""), start);
    start = end;
  }
  return blocks.root.children;
}

/** The tree of blocks that grows by one line after another, as CommonMark describes it in its appendix. */
class Blocks {
  constructor() {
    this.root = { kind: "document", children: [], isOpen: true, nesting: 0, quotes: 0 };
    this.unmatched = null;
    /** In how many quotes the line before was blank, if it was. */
    this.blankQuotes = -1;
  }

  /** The innermost block that a line may still go on with. */
  get tip() {
    let tip = this.root;
    for (let child = tip; child; child = openChild(tip)) tip = child;
    return tip;
  }

  add(text, start) {
    const line = new Line(text);
    this.start = start;
    let container = this.root;
    this.unmatched = openChild(container);
    while (this.unmatched && goesOn(this.unmatched, line)) {
      container = this.unmatched;
      this.unmatched = openChild(container);
    }
    const { quotes } = container;
    let isTaken = line.isTaken;
    while (!isTaken && !VERBATIM.has(container.kind)) {
      const begun = this.begun(line, container);
      if (!begun) break;
      container = begun;
      isTaken = !CONTAINERS.has(container.kind);
    }
    if (!isTaken) this.addText(line, container);
    // After a marker that has just begun an item, a line without more separates nothing.
    this.blankQuotes = line.isBlank && container.start !== start ? quotes : -1;
  }

  /** The block that begins in a line, if one does. */
  begun(line, container) {
    if (line.indent >= 4) return this.indented(line, container);
    if (line.isBlank) return null;
    return (
      this.quote(line, container) ??
      this.heading(line, container) ??
      this.fence(line, container) ??
      this.math(line, container) ??
      this.underline(line, container) ??
      this.table(line, container) ??
      this.rule(line, container) ??
      this.item(line, container)
    );
  }

  /** A line in which nothing begins; a paragraph goes on with it even where the markers of its containers are left out. */
  addText(line, container) {
    const { tip } = this;
    if (this.unmatched && tip.kind === "paragraph" && !line.isBlank) return this.addLine(tip, line.words);
    this.close();
    if (VERBATIM.has(container.kind)) this.addLine(container, line.rest);
    else if (line.isBlank) return;
    else if (LEAVES.has(container.kind)) this.addLine(container, line.words);
    else this.addLine(this.begin("paragraph", container), line.words);
  }

  addLine(block, text) {
    block.lines.push(text);
    block.lastStart = this.start;
  }

  close() {
    if (this.unmatched) this.unmatched.isOpen = false;
    this.unmatched = null;
  }

  /** A new block in the innermost one that can hold it. */
  begin(kind, container, fields = {}) {
    this.close();
    let parent = container;
    while (kind === "item" ? parent.kind !== "list" : !CONTAINERS.has(parent.kind)) {
      parent.isOpen = false;
      parent = parent.parent;
    }
    if (parent.children.length && this.blankQuotes === parent.quotes) {
      if (parent.kind === "list") parent.isLoose = true;
      else if (parent.kind === "item") parent.parent.isLoose = true;
    }
    const nesting = parent.nesting + (kind === "quote" || kind === "item" ? 1 : 0);
    const quotes = parent.quotes + (kind === "quote" ? 1 : 0);
    const block = { kind, parent, children: [], lines: [], isOpen: true, start: this.start, nesting, quotes, ...fields };
    parent.children.push(block);
    return block;
  }

  indented(line, container) {
    if (line.isBlank || this.tip.kind === "paragraph") return null;
    line.skip(4);
    const block = this.begin("code", container, { language: "" });
    this.addLine(block, line.rest);
    return block;
  }

  quote(line, container) {
    if (line.mark !== ">" || container.nesting >= MOST_NESTED) return null;
    line.pass(1);
    line.skip(1);
    return this.begin("quote", container);
  }

  heading(line, container) {
    const level = line.mark === "#" ? runLength(line.text, line.next) : 7;
    if (level > 6 || !/^[ \t]?$/.test(line.words.charAt(level))) return null;
    return this.begin("heading", container, { level, lines: [withoutClosing(line.words.slice(level).trim())], isOpen: false });
  }

  fence(line, container) {
    const length = line.mark === "`" || line.mark === "~" ? runLength(line.text, line.next) : 0;
    const about = line.words.slice(length).trim();
    if (length < 3 || (line.mark === "`" && about.includes("`"))) return null;
    const language = unescaped(about.split(/\s/, 1)[0]);
    return this.begin("code", container, { fence: line.mark, length, indent: line.indent, language });
  }

  /** A line that is nothing but \\[ or $$ begins mathematics. */
  math(line, container) {
    const opening = line.words.trim();
    if (container.kind === "paragraph" || !Object.hasOwn(MATH, opening)) return null;
    return this.begin("math", container, { lines: [opening], closing: MATH[opening] });
  }

  /** A line of = or - makes the paragraph above it a heading. */
  underline(line, container) {
    const isLine = (line.mark === "=" || line.mark === "-") && !line.words.slice(runLength(line.text, line.next)).trim();
    if (container.kind !== "paragraph" || !isLine) return null;
    return Object.assign(container, { kind: "heading", level: line.mark === "=" ? 1 : 2, isOpen: false });
  }

  /** A line of | and - makes the line above it the head of a table. */
  table(line, container) {
    if (container.kind !== "paragraph") return null;
    const head = container.lines.at(-1);
    const sides = head.includes("|") ? sidesOf(line.words) : null;
    if (!sides || cellsOf(head).length !== sides.length) return null;
    container.lines.pop();
    const fields = { sides, head, start: container.lastStart };
    return container.lines.length ? this.begin("table", container, fields) : Object.assign(container, { kind: "table" }, fields);
  }

  rule(line, container) {
    if (!"*-_".includes(line.mark)) return null;
    let count = 0;
    for (const character of line.words) {
      if (character === line.mark) count += 1;
      else if (character !== " " && character !== "\t") return null;
    }
    return count < 3 ? null : this.begin("rule", container, { isOpen: false });
  }

  item(line, container) {
    MARKER.lastIndex = line.next;
    const found = MARKER.exec(line.text);
    if (!found || container.nesting >= MOST_NESTED) return null;
    const [marker, number] = found;
    if (container.kind === "paragraph" && (!line.words.slice(marker.length).trim() || (number && Number(number) !== 1))) return null;
    const before = line.indent;
    line.pass(marker.length);
    // Text that is far from its marker is code, and a blank line says nothing of how far the text will be.
    const gap = line.isBlank || line.indent > 4 ? 1 : line.indent;
    line.skip(gap);
    const mark = marker.at(-1);
    const isSame = container.kind === "list" && container.mark === mark;
    const list = isSame ? container : this.begin("list", container, { mark, first: number && Number(number) });
    return this.begin("item", list, { indent: before + marker.length + gap });
  }
}

/** A line that is read from its left, with tabs that reach to every fourth column. */
class Line {
  constructor(text) {
    this.text = text;
    this.place = 0;
    this.column = 0;
    this.isInTab = false;
    this.isTaken = false;
    this.look();
  }

  /** Finds what comes after spaces: where it is, and how many columns further. */
  look() {
    let [next, column] = [this.place, this.column];
    for (; this.text[next] === " " || this.text[next] === "\t"; next += 1) {
      column += this.text[next] === "\t" ? 4 - (column % 4) : 1;
    }
    this.next = next;
    this.indent = column - this.column;
    this.isBlank = next === this.text.length;
    this.mark = this.text.charAt(next);
  }

  /** Goes over so many columns of space, or what there is. */
  skip(columns) {
    for (let left = Math.min(columns, this.indent); left > 0; ) {
      const width = this.text[this.place] === "\t" ? 4 - (this.column % 4) : 1;
      const taken = Math.min(width, left);
      this.column += taken;
      this.isInTab = taken < width;
      if (!this.isInTab) this.place += 1;
      left -= taken;
    }
    this.look();
  }

  /** Goes over what comes next, and the spaces before it. */
  pass(length) {
    this.column += this.indent + length;
    this.place = this.next + length;
    this.isInTab = false;
    this.look();
  }

  get words() {
    return this.text.slice(this.next);
  }

  get rest() {
    return this.isInTab ? " ".repeat(4 - (this.column % 4)) + this.text.slice(this.place + 1) : this.text.slice(this.place);
  }
}

function openChild(block) {
  const last = block.children.at(-1);
  return last?.isOpen ? last : null;
}

/** Whether a line goes on with a block; what in it says so is passed over. */
function goesOn(block, line) {
  if (block.kind === "list") return true;
  if (block.kind === "quote") {
    if (line.indent >= 4 || line.mark !== ">") return false;
    line.pass(1);
    line.skip(1);
    return true;
  }
  if (block.kind === "item") {
    if (line.isBlank ? !block.children.length : line.indent < block.indent) return false;
    line.skip(block.indent);
    return true;
  }
  if (block.kind === "code") return block.fence ? fenceGoesOn(block, line) : indentedGoesOn(line);
  if (block.kind === "math") return mathGoesOn(block, line);
  return !line.isBlank;
}

/** Mathematics reaches to the line that ends with what closes it. */
function mathGoesOn(block, line) {
  if (!line.words.trimEnd().endsWith(block.closing)) return true;
  block.lines.push(line.rest.trimEnd());
  block.isOpen = false;
  line.isTaken = true;
  return false;
}

function fenceGoesOn(block, line) {
  if (line.indent < 4 && line.mark === block.fence) {
    const length = runLength(line.text, line.next);
    if (length >= block.length && !line.words.slice(length).trim()) {
      block.isOpen = false;
      line.isTaken = true;
      return false;
    }
  }
  line.skip(block.indent);
  return true;
}

function indentedGoesOn(line) {
  if (line.indent < 4 && !line.isBlank) return false;
  line.skip(4);
  return true;
}

/** A heading without the #s at its end. */
function withoutClosing(text) {
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  if (end === 0 || end === text.length) return text.slice(0, end);
  return text[end - 1] === " " || text[end - 1] === "\t" ? text.slice(0, end).trimEnd() : text;
}

/** What is between the |s of a line. */
export function cellsOf(text) {
  const row = text.trim();
  const cells = [""];
  for (const piece of row.split(/(\\?\|)/)) {
    if (piece === "|") cells.push("");
    else cells[cells.length - 1] += piece === "\\|" ? "|" : piece;
  }
  if (row.startsWith("|")) cells.shift();
  if (cells.at(-1) === "" && row.endsWith("|")) cells.pop();
  return cells.map((cell) => cell.trim());
}

/** To which side the columns of a table are set, or null where the line does not say. */
function sidesOf(text) {
  if (!/^[|:\- \t]+$/.test(text)) return null;
  const cells = cellsOf(text);
  if (!cells.length || !cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return cells.map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : cell.startsWith(":") ? "left" : ""));
}

/** Where the line after this place begins; infinity where the line has no end yet. */
export function lineEnd(text, place) {
  LINE_END.lastIndex = place;
  return LINE_END.test(text) ? LINE_END.lastIndex : Infinity;
}
