/** Home: what runs now, and the family tree of the runs. */

import { el, fill, icon, iconButton, setText } from "../element.js";
import { ACTIVE, jobRow } from "./jobs_list.js";
import { about, duration, runState } from "./figures.js";
import { showRows } from "./in_place.js";
import { openRunMenu, talkLink } from "./run_actions.js";

const EVERY_MS = 2000;
const MOST_COMPARED = 8;
/** From how many runs on they can be searched. */
const MANY = 8;
const RECENT_S = 86_400;
const MOST_FAILED = 3;

export async function show(place, studio) {
  const { api, t } = studio;
  const chosen = new Set();
  const jobs = el("ul.jobs", { "aria-label": t("home.jobs") });
  const search = el("input", { type: "search", placeholder: t("home.search"), "aria-label": t("home.search"), hidden: true, oninput: () => showRuns() });
  const compare = el("button", { type: "button", hidden: true, onclick: () => studio.go("compared", ...chosen) });
  const list = el("ul.runs", { "aria-label": t("home.runs") });
  const train = el("a.button.primary", { href: "#/train", hidden: true }, t("home.train"));
  fill(place,
    el("div.row", {}, el("h1", {}, t("home.title")), el("span.space"), compare, search, train),
    jobs, list);
  let runs = [];

  const update = async () => take(await api.get("home"));

  function take({ runs: news, jobs: newJobs }) {
    runs = news;
    showJobs(jobs, newJobs, studio, update);
    // What a person has open stays where it is.
    if (!document.querySelector(".beside")) showRuns();
  }

  function showRuns() {
    search.hidden = runs.length <= MANY;
    train.hidden = !runs.length;
    const words = search.value.trim().toLowerCase();
    const found = words ? runs.filter(({ name }) => name.toLowerCase().includes(words)) : runs;
    for (const name of chosen) if (!runs.some((run) => run.name === name)) chosen.delete(name);
    if (runs.length) {
      const rows = showRows(list, branches(found, words), { key: ([run]) => run.name, signature: said, make: ([run, depth]) => runRow(run, depth) });
      for (const row of rows) setText(row.querySelector(".ago"), ago(runs.find(({ name }) => name === row.dataset.run)));
    } else if (!list.querySelector(".steps")) fill(list, steps(t));
    showCompare();
  }

  function showCompare() {
    compare.hidden = chosen.size < 2;
    compare.disabled = chosen.size > MOST_COMPARED;
    compare.textContent = chosen.size > MOST_COMPARED ? t("home.tooMany", { count: MOST_COMPARED }) : t("home.compare", { count: chosen.size });
  }

  const ago = (run) => t("home.ago", { time: duration(t, run.age_s) });

  function runRow(run, depth) {
    const tick = el("input", { type: "checkbox", checked: chosen.has(run.name), "aria-label": t("home.tick", { name: run.name }), onchange: ({ target }) => {
      if (target.checked) chosen.add(run.name);
      else chosen.delete(run.name);
      showCompare();
    } });
    const more = iconButton("more", t("run.menu", { name: run.name }), () => openRunMenu(studio, more, runs.find(({ name }) => name === run.name) ?? run, update));
    const row = el("li.run", { data: { run: run.name } },
      tick,
      el("div.what", {},
        el("div.row", {},
          el("a.run-name", { href: `#/runs/${encodeURIComponent(run.name)}`, dir: "auto" }, run.name),
          run.kind && el("span.badge", {}, t(`kind.${run.kind}`)),
          run.is_default && el("span.badge.accent", {}, t("home.default"))),
        el("p.soft", {}, run.problem ?? about(t, run)),
        run.made_from && !run.is_listed && el("p.soft", { dir: "auto" }, t("home.from", { name: run.made_from }))),
      el("div.state", { data: { state: run.state } }, el("span", {}, runState(t, run)), el("span.soft.ago", {}, ago(run))),
      talkLink(studio, run),
      more);
    row.style.setProperty("--depth", Math.min(depth, 6));
    return row;
  }

  await api.follow("home", (news) => take(news), { everyMs: EVERY_MS });
}

/** All that a row says of a run, but its age. */
const said = ([{ age_s: _, job, ...run }, depth]) => JSON.stringify([run, job?.state, depth]);

/** The runs as a tree: each behind the one that it was made from, with its depth. While searching, all are leaves. */
function branches(runs, isSearch) {
  if (isSearch) return runs.map((run) => [run, 0]);
  const names = new Set(runs.map(({ name }) => name));
  const children = Map.groupBy(runs, (run) => (run.is_listed && names.has(run.made_from) && run.made_from !== run.name ? run.made_from : null));
  const rows = [];
  const seen = new Set();
  const walk = (parent, depth) => {
    for (const run of children.get(parent) ?? []) {
      if (seen.has(run.name)) continue;
      seen.add(run.name);
      rows.push([run, depth]);
      walk(run.name, depth + 1);
    }
  };
  walk(null, 0);
  // Runs that say they were made from each other.
  for (const run of runs) if (!seen.has(run.name)) rows.push([run, 0]);
  return rows;
}

/** What waits and runs, and what failed lately. */
function showJobs(list, jobs, studio, onMoved) {
  const now = Date.now() / 1000;
  const failed = jobs.filter((job) => job.verb !== "plan" && ["failed", "killed"].includes(job.state) && now - job.ended < RECENT_S).slice(0, MOST_FAILED);
  const wanted = [...jobs.filter((job) => ACTIVE.includes(job.state)).reverse(), ...failed];
  const rows = showRows(list, wanted, { key: ({ id }) => id, signature: ({ id }) => id, make: () => jobRow(studio, { onMoved }) });
  const waits = ({ state, lane }, job) => state === "waiting" && lane === job.lane;
  rows.forEach((row, place) => {
    const job = wanted[place];
    row.show(job, { canMove: waits(job, job) && wanted.slice(0, place).some((one) => waits(one, job)) });
  });
  list.hidden = !rows.length;
}

/** Three steps for somebody who has no runs yet. */
const steps = (t) => el("li.card.steps", {},
  el("h2", {}, t("home.begin")),
  el("ol", {}, [["data", "data"], ["train", "train"], ["talk", "talk"]].map(([name, view]) =>
    el("li.row", {}, el(name === "data" ? "a.button.primary" : "a.button", { href: view === "talk" ? "talk" : `#/${view}` }, t(`${view}.title`), icon("right")), el("span", {}, t(`home.step.${name}`))))));
