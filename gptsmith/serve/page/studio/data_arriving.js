/** An upload as a card: how far it is, what went wrong, and Cancel. */

import { el, fill, icon, readableBytes, setText } from "../element.js";
import { dismiss } from "./data_upload.js";
import { progressBar } from "./progress.js";

const MOST_PROBLEMS = 20;

/** A hidden card for the uploads to a collection; `show(upload)` shows one, and brings it up to date. */
export function arrivingCard(name, { t }) {
  let upload = null;
  const title = el("h2");
  const button = el("button", { type: "button", onclick: () => {
    if (!upload.isOver) return upload.cancel();
    dismiss(name);
    card.hidden = true;
    return undefined;
  } });
  const bar = progressBar(title, button, t("data.arriving"));
  const figures = el("p.soft");
  const trouble = el("div");
  const refused = el("details", { hidden: true }, el("summary"), el("ul"));
  const card = el("section.card", { hidden: true, "aria-label": t("data.arriving") }, bar, figures, trouble, refused);

  card.show = (now) => {
    if (upload !== now) fill(refused.lastChild);
    upload = now;
    const { total, done, problems, isOver, error } = now;
    card.hidden = false;
    setText(title, t(error ? "data.upload_failed" : isOver ? "data.arrived" : "data.arriving"));
    setText(button, t(isOver ? "data.ok" : "data.cancel"));
    bar.show({ fraction: isOver && !error ? 1 : done / Math.max(total, 1) });
    setText(figures, t("data.upload_figures", { done: now.numDone, files: now.numFiles, bytes: readableBytes(done), total: readableBytes(total) }));
    const words = error?.message ?? (now.isSilent ? t("trouble.gone") : "");
    if (trouble.textContent !== words) fill(trouble, words && el("p.problem", { role: "alert" }, icon("alert"), words));
    refused.hidden = !problems.length;
    if (!problems.length) return;
    const [summary, list] = refused.children;
    setText(summary, t("data.refused", { count: problems.length }));
    for (const { path, problem } of problems.slice(list.children.length, MOST_PROBLEMS)) list.append(el("li", { dir: "auto" }, `${path}: ${problem ?? t("data.unreadable")}`));
  };
  return card;
}
