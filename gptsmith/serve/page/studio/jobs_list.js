/** Jobs as rows: what they do, how far they are, and how they are stopped. */

import { el, setText } from "../element.js";
import { confirmed, tried } from "./dialogs.js";
import { duration } from "./figures.js";
import { progressBar } from "./progress.js";
import { said } from "./said.js";

export const ACTIVE = ["waiting", "running", "stopping"];
/** Verbs whose jobs have the name of what they are about. */
const NAMED = ["plan", "audit"];

/** A row for a job, which `show(job)` brings up to date. */
export function jobRow(studio, { isTitled = true, onMoved = () => {} } = {}) {
  const { t } = studio;
  const title = el("a.run-name", { dir: "auto" });
  const stop = el("button", { type: "button" });
  const up = el("button", { type: "button", hidden: true, onclick: tried(studio, async () => { await studio.api.post("jobs/move_up", { id: job.id }); onMoved(); }) }, t("jobs.move_up"));
  const bar = progressBar(isTitled && title, [up, stop], t("jobs.progress"));
  const row = el("li.job", {}, bar);
  let job = null;
  stop.addEventListener("click", tried(studio, async () => {
    const isStopping = job.state === "stopping";
    if (isStopping && !(await confirmed(t("jobs.askEnd"), { button: t("jobs.end"), t }))) return;
    row.show(await studio.api.post("jobs/cancel", { id: job.id, at_once: isStopping }));
  }));
  row.show = (news, { canMove = false } = {}) => {
    job = news;
    up.hidden = !canMove;
    up.ariaLabel = `${t("jobs.move_up")}: ${jobTitle(t, job)}`;
    setText(title, jobTitle(t, job));
    if (job.run) title.href = `#/runs/${encodeURIComponent(job.run)}`;
    bar.show({ words: progressWords(t, job), fraction: job.progress?.fraction, hasBar: ["running", "stopping"].includes(job.state) });
    stop.hidden = !ACTIVE.includes(job.state);
    setText(stop, t(job.state === "waiting" ? "jobs.cancel" : job.state === "stopping" ? "jobs.end" : "jobs.stop"));
    stop.ariaLabel = `${stop.textContent}: ${jobTitle(t, job)}`;
  };
  return row;
}

/** What a job does. */
const jobTitle = (t, { verb, title }) => (NAMED.includes(verb) ? t(`jobs.${verb}_named`, { name: title }) : title);

/** How a job stands, in words. */
export function progressWords(t, job) {
  const { progress } = job;
  if (!ACTIVE.includes(job.state)) return t(`jobs.${job.state}`) + (job.message ? `: ${said(t, job.message, job.notice)}` : "");
  if (job.state !== "running" || !progress) return t(`jobs.${job.state}`);
  const left = typeof progress.seconds_left === "number" ? t("jobs.left", { time: duration(t, progress.seconds_left) }) : "";
  const name = `progress.${progress.words.replaceAll(" ", "_")}`;
  const words = t(name) === name ? progress.words : t(name);
  return [words, typeof progress.fraction === "number" ? `${Math.floor(progress.fraction * 100)} %` : "", left].filter(Boolean).join(" · ");
}
