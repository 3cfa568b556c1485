/** One collection: what is in it, what a model will read of it, and what is mended. */

import { el, fill, icon, iconButton } from "../element.js";
import { openMenu } from "../popup.js";
import { askLine, confirmed, tried } from "./dialogs.js";
import { arrivingCard } from "./data_arriving.js";
import { dropZone } from "./data_drop.js";
import { begin, dismiss, uploadTo } from "./data_upload.js";
import { partLinks, partOf, showPart } from "./data_parts.js";
import { showReading } from "./data_reading.js";

export async function showCollection(place, studio) {
  const { api, t, go, passing, about: [name] } = studio;
  const { collections } = await api.get("data");
  const collection = collections.find((each) => each.name === name);
  if (!collection) {
    fill(place, el("h1", {}, t("data.gone")), el("a", { href: "#/data" }, t("data.back")));
    return;
  }
  const read = el("section.card", { "aria-label": t("data.what_was_read"), hidden: true });
  const part = el("section.card", { hidden: true });
  const arriving = arrivingCard(name, studio);

  /** Shows what is there now; nothing is read while files arrive. */
  const news = tried(studio, async () => {
    const now = (await api.get("data")).collections.find((each) => each.name === name);
    Object.assign(collection, now);
    const isEmpty = !now?.num_files && !now?.num_skipped;
    const shown = isEmpty ? "files" : partOf(studio.about);
    read.hidden = isEmpty;
    links.hidden = isEmpty;
    if (zone) zone.hidden = shown !== "files";
    zone?.classList.toggle("small", !isEmpty);
    const reading = isEmpty ? null : showReading(read, collection, studio);
    const needsTexts = !["files", "examples"].includes(shown);
    part.hidden = shown !== "files" && !await reading && needsTexts;
    part.setAttribute("aria-label", t(`data.part_${shown}`));
    if (!part.hidden) await showPart(part, collection, studio, figures, shown);
    await reading;
  });

  /** Shows the figures anew after a change. */
  const figures = tried(studio, () => showReading(read, collection, studio));

  async function add({ files: given }) {
    follow(begin(name, given));
  }

  /** What stays of an upload that is over: its problems, if it has any. */
  function over(upload) {
    if (upload.isCancelled || (!upload.error && !upload.problems.length)) {
      const hidden = upload.numHidden ? ` ${t("data.hidden", { count: upload.numHidden })}` : "";
      passing(upload.isCancelled ? t("data.upload_cancelled") : t("data.added", { count: upload.numFiles }) + hidden);
      dismiss(name);
      arriving.hidden = true;
    }
    news();
  }

  /** Shows an upload until it is over. */
  function follow(upload) {
    const onNews = (now) => {
      arriving.show(now);
      if (now.isOver) {
        stop();
        over(now);
      }
    };
    const stop = upload.listen(onNews);
    studio.signal.addEventListener("abort", stop);
    onNews(upload);
  }

  async function rename() {
    if (uploadTo(name)?.isOver === false) {
      passing(t("data.rename_later"));
      return;
    }
    const newName = await askLine(t("data.rename_question"), { value: name, button: t("data.rename"), t });
    if (!newName || newName === name) return;
    const renamed = await api.post("data/rename", { name, new_name: newName });
    go("data", renamed.name);
  }

  async function remove() {
    const { runs } = await api.get("data/runs", { name });
    const question = [t(collection.path ? "data.delete_named_question" : "data.delete_question", { name }), runs.length > 0 && t("data.delete_runs", { runs: runs.join(", ") })];
    if (!await confirmed(question.filter(Boolean).join(" "), { button: t("data.delete"), t })) return;
    uploadTo(name)?.cancel();
    await api.post("data/delete", { name });
    go("data");
  }

  const zone = collection.path ? null : dropZone(studio, { onFiles: add });
  const links = partLinks(studio);
  const menu = iconButton("more", t("data.more"), () => openMenu(menu, t("data.more"), [
    [icon("edit"), t("data.rename"), tried(studio, rename)],
    [icon("trash"), t("data.delete"), tried(studio, remove)],
  ]));
  fill(place,
    el("p", {}, el("a", { href: "#/data" }, t("data.back"))),
    el("div.row", {}, el("h1.called", { dir: "auto" }, name), menu, el("span.space"),
      zone && el("a.button", { href: `#/data/${encodeURIComponent(name)}/files` }, icon("plus"), t("data.add_files")),
      el("a.button.primary", { href: `#/train/${encodeURIComponent(name)}` }, t("data.train"))),
    collection.path && el("p.soft", { dir: "auto" }, collection.path),
    arriving,
    zone, read, links, part);
  if (uploadTo(name)) follow(uploadTo(name));
  else await news();
}
