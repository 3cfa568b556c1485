/**
 * Markdown in, elements out: lines become blocks (markdown_blocks.js), blocks become elements (markdown_elements.js), and
 * the text of a block becomes nodes (markdown_text.js). Nothing is ever read as HTML. Every step takes time in proportion to
 * the text, and nothing nests deeper than a bound.
 */

import { blocksOf, lineEnd } from "./markdown_blocks.js";
import { elementOf, emptyList, withBlocks } from "./markdown_elements.js";

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

function commonLength(one, other) {
  if (other.startsWith(one)) return one.length;
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return length;
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
