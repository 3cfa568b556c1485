/** Blocks to elements. */

import { copyText } from "./clipboard.js";
import { make } from "./element.js";
import { cellsOf } from "./markdown_blocks.js";
import { withText } from "./markdown_text.js";
import { t } from "./words.js";

/** How many cells a table may have that its source leaves out: few characters could ask for millions. */
const MOST_FILLED = 1000;
const COPIED_MS = 2000;
/** From right to left where the first letters are; items and cells as their list and table. Code never is. */
const AUTO = { dir: "auto" };

/** The element of a block. */
export function elementOf(block) {
  const text = () => block.lines.join("\n").trimEnd();
  if (block.kind === "rule") return make("hr");
  if (block.kind === "paragraph") return withText(make("p", AUTO), text());
  if (block.kind === "heading") return withText(make(`h${block.level}`, AUTO), text());
  if (block.kind === "math") return make("pre", { class: "math", dir: "ltr", tabindex: "0" }, block.lines.join("\n"));
  if (block.kind === "code") return codeElement(block);
  if (block.kind === "quote") return withBlocks(make("blockquote"), block.children);
  if (block.kind === "list") return withBlocks(emptyList(block), block.children);
  return block.kind === "item" ? itemElement(block) : tableElement(block);
}

/** Puts the elements of blocks into another. */
export function withBlocks(target, blocks) {
  for (const block of blocks) target.append(elementOf(block));
  return target;
}

function codeElement({ language, lines, fence }) {
  let end = lines.length;
  while (!fence && end > 0 && !lines[end - 1].trim()) end -= 1;
  const button = make("button", { type: "button", class: "copy", "aria-label": t("chat.copy_code") }, t("chat.copy"));
  button.addEventListener("click", copyCode);
  const code = make("code");
  if (end) code.append(lines.slice(0, end).join("\n"));
  return make(
    "div",
    { class: "code", dir: "ltr" },
    make("div", { class: "code-head" }, make("span", {}, language), button),
    make("pre", { tabindex: "0" }, code),
  );
}

/** The element of a list without its items. */
export function emptyList({ first }) {
  return first === undefined ? make("ul", AUTO) : make("ol", first === 1 ? AUTO : { ...AUTO, start: first });
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
  const table = make("table", AUTO, make("thead", {}, row("th", head)));
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

async function copyCode({ currentTarget: button }) {
  const code = button.closest(".code").querySelector("code");
  const said = await copyText(code.textContent).then(
    () => t("chat.code_copied"),
    () => t("chat.code_not_copied"),
  );
  label(button, said, said);
  setTimeout(() => label(button, t("chat.copy"), t("chat.copy_code")), COPIED_MS);
}

function label(button, text, name) {
  button.textContent = text;
  button.setAttribute("aria-label", name);
}
