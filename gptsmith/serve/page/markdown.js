// Markdown in, elements out: lines become blocks, the text of a block becomes tokens, and tokens become nodes. Nothing is
// ever read as HTML. Every step takes time in proportion to the text, and nothing nests deeper than MOST_NESTED.

const MOST_NESTED = 32;
/** How many cells a table may have that its source leaves out: few characters could ask for millions. */
const MOST_FILLED = 1000;
const COPIED_MS = 2000;

/** Shows Markdown in an element, also while it is still being written. */
export class MarkdownView {
  constructor(target) {
    this.target = target;
    this.text = "";
    this.shown = [];
    target.replaceChildren();
  }

  /** Shows the whole text so far. Blocks that did not change keep their nodes. */
  update(text) {
    const numKept = this.numKept(text);
    const old = this.shown.slice(numKept);
    const blocks = blocksOf(text, numKept ? old[0].start : 0);
    this.shown = [...this.shown.slice(0, numKept), ...placed(this.target, old, blocks, text)];
    this.text = text;
  }

  /** How many blocks nothing that is new can change: how one ends is known by the next two lines. */
  numKept(text) {
    const common = commonLength(this.text, text);
    let count = Math.max(0, this.shown.length - 1);
    while (count && lineEnd(text, lineEnd(text, this.shown[count].start)) > common) count -= 1;
    return count;
  }
}

/** The nodes of a whole text. */
export function render(text) {
  return withBlocks(document.createDocumentFragment(), blocksOf(text, 0));
}

/** Puts a text on the clipboard, or throws an error for a person. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // There is no clipboard on pages that came neither over HTTPS nor from this machine, or it is not allowed.
    copySelected(text);
  }
}

function copySelected(text) {
  const focused = document.activeElement;
  const area = make("textarea", { readonly: "", "aria-hidden": "true" });
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  if (!isCopied) throw new Error("this browser does not let a page copy: select the text and copy it yourself");
}

async function copyCode({ currentTarget: button }) {
  const code = button.closest(".code").querySelector("code");
  const said = await copyText(code.textContent).then(
    () => "Copied",
    () => "Not copied",
  );
  label(button, said, said);
  setTimeout(() => label(button, "Copy", "Copy code"), COPIED_MS);
}

function label(button, text, name) {
  button.textContent = text;
  button.setAttribute("aria-label", name);
}

// What changed

function commonLength(one, other) {
  if (other.startsWith(one)) return one.length;
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return length;
}

/** Where the line after this place begins; infinity where the line has no end yet. */
function lineEnd(text, place) {
  LINE_END.lastIndex = place;
  return LINE_END.test(text) ? LINE_END.lastIndex : Infinity;
}

/** Puts blocks, which reach to the end of a text, where old ones were: at the end of `target`. Says what is there then. */
function placed(target, old, blocks, text) {
  const fresh = blocks.map((block, i) => {
    const source = text.slice(block.start, blocks[i + 1]?.start);
    if (old[i]?.source === source) return { ...old[i], start: block.start };
    return { start: block.start, source, ...placedBlock(target, old[i], block, text.slice(0, blocks[i + 1]?.start)) };
  });
  old.slice(fresh.length).forEach(({ element }) => element.remove());
  return fresh;
}

/** One block where an old one was. A list that goes on gets only the items that are new. */
function placedBlock(target, old, block, text) {
  const { kind, isLoose, children } = block;
  if (kind !== "list") return { element: placedElement(target, old, elementOf(block)) };
  const list = emptyList(block);
  const goesOn = old?.items && old.isLoose === isLoose && old.element.nodeName === list.nodeName && hasSameAttributes(old.element, list);
  if (!goesOn) old?.element.replaceWith(list);
  const element = goesOn ? old.element : list;
  if (!old) target.append(list);
  return { element, isLoose, items: placed(element, goesOn ? old.items : [], children, text) };
}

function placedElement(target, old, element) {
  if (old) return settled(old.element, element);
  target.append(element);
  return element;
}

/** The old node with all that is new in it, or the new one where they are of different kinds. A person may be about to
 * click on what stays, or have selected it. */
function settled(old, fresh) {
  // A button that says that it has copied goes on to say so.
  if (old.nodeName === "BUTTON" && fresh.nodeName === "BUTTON") return old;
  if (old.nodeName !== fresh.nodeName || !hasSameAttributes(old, fresh)) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.data.length));
    else old.data = fresh.data;
    return old;
  }
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((node, i) => (before[i] ? settled(before[i], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
  return old;
}

function hasSameAttributes(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) return true;
  const attributes = [...fresh.attributes];
  return attributes.length === old.attributes.length && attributes.every(({ name, value }) => old.getAttribute(name) === value);
}

// Lines to blocks

const LINE_END = /\r\n?|\n/g;
const MARKER = /(?:[-+*]|(\d{1,9})[.)])(?=[ \t]|$)/y;
const CONTAINERS = new Set(["document", "quote", "item"]);
const LEAVES = new Set(["paragraph", "table"]);

/** The blocks of a text from a place on at which one begins. Each says where it begins itself. */
function blocksOf(text, from) {
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
    while (!isTaken && container.kind !== "code") {
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
    if (container.kind === "code") this.addLine(container, line.rest);
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
  return !line.isBlank;
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

/** How often the character that stands there comes one after another. */
function runLength(text, place) {
  let end = place;
  while (end < text.length && text[end] === text[place]) end += 1;
  return end - place;
}

/** A heading without the #s at its end. */
function withoutClosing(text) {
  let end = text.length;
  while (text[end - 1] === "#") end -= 1;
  if (end === 0 || end === text.length) return text.slice(0, end);
  return text[end - 1] === " " || text[end - 1] === "\t" ? text.slice(0, end).trimEnd() : text;
}

/** What is between the |s of a line. */
function cellsOf(text) {
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

// Blocks to elements

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function elementOf(block) {
  const text = () => block.lines.join("\n").trimEnd();
  if (block.kind === "rule") return make("hr");
  if (block.kind === "paragraph") return withText(make("p"), text());
  if (block.kind === "heading") return withText(make(`h${block.level}`), text());
  if (block.kind === "code") return codeElement(block);
  if (block.kind === "quote") return withBlocks(make("blockquote"), block.children);
  if (block.kind === "list") return withBlocks(emptyList(block), block.children);
  return block.kind === "item" ? itemElement(block) : tableElement(block);
}

function withBlocks(target, blocks) {
  for (const block of blocks) target.append(elementOf(block));
  return target;
}

function codeElement({ language, lines, fence }) {
  let end = lines.length;
  while (!fence && end > 0 && !lines[end - 1].trim()) end -= 1;
  const button = make("button", { type: "button", class: "copy", "aria-label": "Copy code" }, "Copy");
  button.addEventListener("click", copyCode);
  const code = make("code");
  if (end) code.append(lines.slice(0, end).join("\n"));
  return make(
    "div",
    { class: "code" },
    make("div", { class: "code-head" }, make("span", {}, language), button),
    make("pre", { tabindex: "0" }, code),
  );
}

function emptyList({ first }) {
  return first === undefined ? make("ul") : make("ol", first === 1 ? {} : { start: first });
}

function itemElement({ children, parent: { isLoose } }) {
  const element = make("li");
  children.forEach((child, i) => {
    if (child.kind !== "paragraph") return element.append(elementOf(child));
    const [task, done] = (i === 0 && /^\[([ xX])\](?=\s)/.exec(child.lines[0])) || [];
    const text = child.lines.join("\n").trimEnd();
    const target = isLoose ? make("p") : element;
    if (isLoose) element.append(target);
    if (task) {
      element.className = "task";
      target.append(checkbox(done !== " "));
    }
    withText(target, task ? text.slice(task.length) : text);
  });
  return element;
}

function checkbox(isDone) {
  const attributes = { type: "checkbox", disabled: "", "aria-label": isDone ? "done" : "not done" };
  return make("input", isDone ? { ...attributes, checked: "" } : attributes);
}

function tableElement({ head, lines, sides }) {
  let numFilled = 0;
  const row = (tag, text) => {
    const cells = cellsOf(text).slice(0, sides.length);
    for (; cells.length < sides.length && numFilled < MOST_FILLED; numFilled += 1) cells.push("");
    const line = make("tr");
    cells.forEach((cell, i) => line.append(cellElement(tag, cell, sides[i])));
    return line;
  };
  const table = make("table", {}, make("thead", {}, row("th", head)));
  const body = make("tbody");
  for (const line of lines) body.append(row("td", line));
  if (lines.length) table.append(body);
  return table;
}

function cellElement(tag, text, side) {
  const cell = withText(make(tag), text);
  if (side) cell.style.textAlign = side;
  return cell;
}

// Text to tokens. A token is a text, or an element that is made already; before it some elements may end (`closes`: how
// each end is written), and after it some may begin (`opens`).

const SPECIAL = /[\\`*_~[\]!<&\n]/g;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const SPACE = /\s/;
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ENTITY = /&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z][a-z0-9]{1,31}));/giy;
const ANGLED = /<([a-z][a-z0-9+.-]{1,31}:[^\s<>]*|[\w.!#$%&'*+/=?^`{|}~-]+@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*)>/iy;
const ADDRESS = /(?<![\p{L}\p{N}])https?:\/\/|(?<=^|[\s*_~(])www\.|(?<![a-z0-9.+-])[a-z0-9][\w.+-]{0,63}@/giu;
const HOST = /(?:https?:\/\/|www\.)[\p{L}\p{N}_-]{1,63}(?:\.[\p{L}\p{N}_-]{1,63})*/iuy;
const MAIL = /[a-z0-9][\w.+-]{0,63}@[a-z0-9-]{1,63}(?:\.[\w-]{1,63})+(?<![_-])/iy;
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
    this.brackets = [];
    /** How many brackets, from the first, cannot begin a link, because there is one in them. */
    this.numDead = 0;
    this.special = -1;
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
    else if (ESCAPABLE.test(next)) this.say(next, 2);
    else this.say("\\");
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
    this.putElement(make("code", {}, isPadded ? code.slice(1, -1) : code), end + length - this.place);
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
function unescaped(text) {
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

// Tokens to nodes

/** Puts the nodes of a text into an element. */
function withText(target, text) {
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
