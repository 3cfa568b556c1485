/** The texts of a person: collections, and one of them. */

import { el, fill, icon, readableBytes } from "../element.js";
import { showCollection } from "./data_collection.js";
import { askLine, tried } from "./dialogs.js";
import { dropZone } from "./data_drop.js";
import { begin } from "./data_upload.js";
import { inTheseWords } from "./said.js";

export async function show(place, studio) {
  if (studio.about[0]) await showCollection(place, studio);
  else await showList(place, studio);
}

async function showList(place, studio) {
  const { api, t, go } = studio;
  const { collections } = await api.get("data");
  const names = new Set(collections.map((each) => each.name));

  /** Makes a collection of what was dropped, and goes to it. */
  async function take({ name, files }) {
    const made = await api.post("data/make", { name: free(name || t("data.untitled"), names) });
    begin(made.name, files);
    go("data", made.name);
  }

  async function makeOfPath() {
    const path = await askLine(t("data.path_question"), { button: t("data.use"), hint: t("data.path_hint"), t });
    if (!path) return;
    const made = await api.post("data/make", { name: free(path.split(/[\\/]/).filter(Boolean).pop() ?? path, names), path });
    go("data", made.name);
  }

  fill(place,
    el("h1", {}, t("data.title")),
    collections.length === 0 && el("p", {}, t("data.invite")),
    dropZone(studio, { onFiles: take, others: el("button", { type: "button", onclick: tried(studio, makeOfPath) }, t("data.name_path")) }),
    collections.length ? el("ul.collections", {}, collections.map((each) => card(each, studio))) : null);
}

function card(collection, { t }) {
  const figures = [t("data.files", { count: collection.num_files }), readableBytes(collection.num_bytes)];
  if (collection.kind) figures.push(t(`data.kind_${collection.kind}`));
  return el("li", {}, el("a.card.collection", { href: `#/data/${encodeURIComponent(collection.name)}` },
    el("h2", { dir: "auto" }, collection.name),
    el("p.soft", {}, figures.join(" · ")),
    collection.problems.map((problem) => el("p.problem", { dir: "auto" }, icon("alert"), inTheseWords(t, problem)))));
}

/** A name that no other collection has. */
function free(wanted, names) {
  const short = [...wanted.replace(/[\p{C}]/gu, " ").trim()].slice(0, 90).join("") || "texts";
  let name = short;
  for (let number = 2; names.has(name); number += 1) name = `${short} ${number}`;
  return name;
}
