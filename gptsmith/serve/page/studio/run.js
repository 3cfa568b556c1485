/** The view of a run: how far it is, its curves, what it writes, and what it was made with. */

import { addNews, Curves, emptyLog, newLog, secondsLeft, showEvents, showPlan, showSamples, useWords } from "../charts.js";
import { el, fill, iconButton, setText } from "../element.js";
import { ACTIVE, jobRow } from "./jobs_list.js";
import { about, duration, runState } from "./figures.js";
import { openRunMenu, resumeRun, talkLink } from "./run_actions.js";
import { tried } from "./dialogs.js";
import { openBesides } from "./links.js";
import { chartWords } from "./words.js";

const EVERY_MS = 1500;

export async function show(place, studio) {
  const { api, t } = studio;
  const [name] = studio.about;
  const path = `runs/${encodeURIComponent(name)}`;
  const log = newLog(name);
  useWords(chartWords());
  let run = null;
  const more = iconButton("more", t("run.menu", { name }), () => openRunMenu(studio, more, run, changed), { hidden: true });
  const resume = el("button", { type: "button", hidden: true, onclick: tried(studio, () => resumeRun(studio, run, () => {})) }, t("run.resume"));
  const talk = el("span");
  const state = el("p.soft");
  const lineage = el("p.soft", { dir: "auto" });
  const job = jobRow(studio, { isTitled: false });
  const jobs = el("ul.jobs", { hidden: true }, job);
  const part = (id) => el("section.part", { hidden: true, data: { part: id } }, el("h2", {}, t(`run.${id}`)));
  const [curves, samples, plan, events] = ["curves", "samples", "plan", "events"].map(part);
  const charts = new Curves(curves, false);
  const settings = el("pre", { tabIndex: 0, "aria-label": t("run.settings") });
  const report = el("button", { type: "button", hidden: true, onclick: tried(studio, () => openBesides(api, `report/${encodeURIComponent(name)}`)) }, t("run.report"));
  fill(place,
    el("div", {}, el("a", { href: "#/" }, t("home.title"))),
    el("div.row", {}, el("h1.run-name", { dir: "auto" }, name), el("span.space"), resume, report, talk, more),
    el("div", {}, state, lineage), jobs, samples, curves, plan, events,
    el("details", { hidden: true }, el("summary", {}, t("run.settings")), settings));

  function changed(newName) {
    if (newName === null) studio.go("");
    else if (newName !== name) studio.go("runs", newName);
  }

  function take(news) {
    const newest = news.job;
    jobs.hidden = !newest || newest.lane !== "train" || newest.state === "done";
    if (newest) job.show(newest);
    if (run && run.state !== news.run?.state) studio.speak(news.run ? runState(t, news.run) : t("run.none"));
    run = news.run;
    more.hidden = !run;
    resume.hidden = !run?.can_resume;
    report.hidden = !run || !news.offset;
    if (!run) return setText(state, newest && ACTIVE.includes(newest.state) ? t("run.coming") : t("run.none"));
    const link = talkLink(studio, run, "a.button.primary");
    if (!link !== !talk.hasChildNodes()) fill(talk, link);
    // The job of a run says it otherwise; of one that the terminal trains its log knows.
    const left = run.state === "running" && !run.job ? secondsLeft(log) : null;
    setText(state, [runState(t, run), left !== null && t("jobs.left", { time: duration(t, left) }), run.problem ?? about(t, run)].filter(Boolean).join(" · "));
    showLineage(lineage, run, t);
    if (news.settings) setText(settings, news.settings);
    settings.parentElement.hidden = !settings.textContent;
    const isBegunAgain = news.offset < log.offset;
    if (isBegunAgain) Object.assign(log, emptyLog());
    const isPlanned = JSON.stringify(news.plan) !== JSON.stringify(log.plan);
    if (news.offset === log.offset && !isPlanned) return undefined;
    addNews(log, news);
    log.plan = news.plan;
    curves.hidden = !Object.keys(log.curves).length;
    charts.show([log]);
    // Parts with nothing new stay as they are, with what is scrolled or selected in them.
    if (isPlanned) showPlan(plan, [log]);
    if (news.samples.length || isBegunAgain) showSamples(samples, [log], true);
    if (news.events.length || isBegunAgain) showEvents(events, [log], true);
    return undefined;
  }

  studio.signal.addEventListener("abort", () => charts.show([]));
  await api.follow(path, take, { everyMs: EVERY_MS, query: () => ({ offset: log.offset }) });
}

/** What it was made from, and what was made from it. */
function showLineage(place, run, t) {
  const signature = JSON.stringify([run.made_from, run.is_listed, run.followers]);
  if (place.dataset.shown === signature) return;
  place.dataset.shown = signature;
  const link = (name) => el("a", { href: `#/runs/${encodeURIComponent(name)}`, dir: "auto" }, name);
  const listed = (names) => names.flatMap((name, i) => [i ? ", " : "", link(name)]);
  fill(place,
    run.made_from && [t("run.from"), " ", run.is_listed ? link(run.made_from) : run.made_from],
    run.made_from && run.followers.length > 0 && " · ",
    run.followers.length > 0 && [t("run.followers"), " ", listed(run.followers)]);
}
