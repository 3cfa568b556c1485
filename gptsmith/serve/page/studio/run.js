/** The view of a run: how far it is, its curves, what it writes, and what it was made with. */

import { addNews, Curves, emptyLog, newLog, secondsLeft, showEvents, showPlan, showSamples } from "../charts.js";
import { el, fill, iconButton } from "../element.js";
import { ACTIVE, jobRow } from "./jobs_list.js";
import { about, duration, runState } from "./figures.js";
import { openRunMenu, resumeRun, talkLink } from "./run_actions.js";
import { tried } from "./data_dialogs.js";

const EVERY_MS = 1500;

export async function show(place, studio) {
  const { api, t } = studio;
  const [name] = studio.about;
  const path = `runs/${encodeURIComponent(name)}`;
  const log = newLog(name);
  let run = null;
  const more = iconButton("more", t("run.menu", { name }), () => openRunMenu(studio, more, run, changed), { hidden: true });
  const resume = el("button", { type: "button", hidden: true, onclick: tried(studio, () => resumeRun(studio, run, () => {})) }, t("run.resume"));
  const talk = el("span");
  const state = el("p.soft", { role: "status" });
  const lineage = el("p.soft", { dir: "auto" });
  const job = jobRow(studio, { isTitled: false });
  const jobs = el("ul.jobs", { hidden: true }, job);
  const part = (id) => el("section.part", { hidden: true, data: { part: id } }, el("h2", {}, t(`run.${id}`)));
  const [curves, samples, plan, events] = ["curves", "samples", "plan", "events"].map(part);
  const charts = new Curves(curves, false);
  const settings = el("pre", { tabIndex: 0, "aria-label": t("run.settings") });
  const report = el("button", { type: "button", hidden: true, onclick: tried(studio, openReport) }, t("run.report"));
  fill(place,
    el("div", {}, el("a", { href: "#/" }, t("home.title"))),
    el("div.row", {}, el("h1.run-name", { dir: "auto" }, name), el("span.space"), resume, report, talk, more),
    el("div", {}, state, lineage), jobs, samples, curves, plan, events,
    el("details", { hidden: true }, el("summary", {}, t("run.settings")), settings));

  async function openReport() {
    const opened = open("", "_blank");
    const address = await api.link(`report/${encodeURIComponent(name)}`);
    if (opened) opened.location.replace(address);
    else location.assign(address);
  }

  function changed(newName) {
    if (newName === null) studio.go("");
    else if (newName !== name) studio.go("runs", newName);
  }

  function take(news) {
    const newest = news.job;
    jobs.hidden = !newest || newest.lane !== "train" || newest.state === "done";
    if (newest) job.show(newest);
    run = news.run;
    if (!run) {
      state.textContent = newest && ACTIVE.includes(newest.state) ? t("run.coming") : t("run.none");
      return;
    }
    more.hidden = false;
    resume.hidden = !run.can_resume;
    report.hidden = !news.offset;
    fill(talk, talkLink(studio, run, "a.button.primary"));
    // The job of a run says it otherwise; of one that the terminal trains its log knows.
    const left = run.state === "running" && !run.job ? secondsLeft(log) : null;
    state.textContent = [runState(t, run), left !== null && t("jobs.left", { time: duration(t, left) }), run.problem ?? about(t, run)].filter(Boolean).join(" · ");
    showLineage(lineage, run, t);
    if (news.settings) settings.textContent = news.settings;
    settings.parentElement.hidden = !settings.textContent;
    if (news.offset < log.offset) Object.assign(log, emptyLog());
    if (news.offset === log.offset && JSON.stringify(news.plan) === JSON.stringify(log.plan)) return;
    addNews(log, news);
    log.plan = news.plan;
    curves.hidden = !Object.keys(log.curves).length;
    charts.show([log]);
    showPlan(plan, [log]);
    showSamples(samples, [log], true);
    showEvents(events, [log], true);
  }

  studio.signal.addEventListener("abort", () => charts.show([]));
  await api.follow(path, take, { everyMs: EVERY_MS, query: () => ({ offset: log.offset }) });
}

/** What it was made from, and what was made from it. */
function showLineage(place, run, t) {
  const link = (name) => el("a", { href: `#/runs/${encodeURIComponent(name)}` }, name);
  const listed = (names) => names.flatMap((name, i) => [i ? ", " : "", link(name)]);
  fill(place,
    run.made_from && [t("run.from"), " ", run.is_listed ? link(run.made_from) : run.made_from],
    run.made_from && run.followers.length > 0 && " · ",
    run.followers.length > 0 && [t("run.followers"), " ", listed(run.followers)]);
}
