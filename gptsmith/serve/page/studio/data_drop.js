/** The place where files are dropped, chosen or pasted. */

import { el, icon } from "../element.js";
import { askText, tried } from "./dialogs.js";

/**
 * A place for files. `onFiles` gets {name, files: [{path, file}]}: what was dropped is called, and each file with its path
 * in it.
 */
export function dropZone(studio, { onFiles, others = null }) {
  const { t } = studio;
  const take = tried(studio, onFiles);
  const files = el("input", { type: "file", multiple: true, hidden: true, "aria-label": t("data.choose_files"), onchange: chosen });
  const folder = el("input", { type: "file", webkitdirectory: true, hidden: true, "aria-label": t("data.choose_folder"), onchange: chosen });

  function chosen({ target }) {
    const given = [...target.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
    target.value = "";
    if (given.length) take(named(given));
  }

  const paste = tried(studio, async () => {
    const text = await askText(t("data.paste_question"), { button: t("data.add"), t });
    if (!text?.trim()) return;
    const words = text.trim().split(/\s+/).slice(0, 5).join(" ").replace(/[\p{C}<>:"|?*\\/.]/gu, " ").trim() || "text";
    const path = `${[...words].slice(0, 40).join("")}.txt`;
    await onFiles(named([{ path, file: new File([text], path, { lastModified: Date.now() }) }]));
  });

  const zone = el("section.drop", { "aria-label": t("data.drop") },
    icon("import"),
    el("p", {}, t("data.drop")),
    el("div.row", {},
      el("button", { type: "button", onclick: () => files.click() }, t("data.choose_files")),
      el("button", { type: "button", onclick: () => folder.click() }, t("data.choose_folder")),
      el("button", { type: "button", onclick: paste }, t("data.paste")),
      others),
    el("p.soft.formats", {}, t("data.formats")),
    files, folder);
  const over = (isOver) => zone.classList.toggle("over", isOver);
  // The whole page takes what is dropped: beside the zone a browser would open it, and leave the studio.
  const listen = (name, action) => addEventListener(name, action, { signal: studio.signal });
  listen("dragover", (event) => { event.preventDefault(); over(true); });
  listen("dragleave", (event) => { if (!event.relatedTarget) over(false); });
  listen("drop", tried(studio, async (event) => {
    event.preventDefault();
    over(false);
    const given = await dropped(event.dataTransfer);
    if (given.length) await onFiles(named(given));
  }));
  return zone;
}

/** The files that were dropped, those in folders with their paths. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  for (const entry of entries) await walk(entry, found);
  return entries.length ? found : [...transfer.files].map((file) => ({ path: file.name, file }));
}

async function walk(entry, found) {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise((resolve) => { entry.file(resolve, () => resolve(null)); });
    found.push({ path, file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve) => { reader.readEntries(resolve, () => resolve([])); });
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}

/** Files of one folder are called after it, and their paths begin below it; others after the first of them. */
function named(given) {
  const tops = new Set(given.map(({ path }) => path.split("/")[0]));
  const [top] = tops;
  if (tops.size === 1 && given.every(({ path }) => path.includes("/"))) {
    return { name: top, files: given.map(({ path, file }) => ({ path: path.slice(top.length + 1), file })) };
  }
  return { name: top.replace(/(.)\.\w{1,12}$/, "$1"), files: given };
}
