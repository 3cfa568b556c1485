const POLL_MS = 2000;
const MOST_CHOSEN = 8;
const SILENT_SECONDS = 120;

const section = (name) => document.getElementById(name);
const runs = new Map();
const curves = new Curves(section("curves"), true);
const fixedHeads = [...section("runs").querySelectorAll("thead th")];
let settings = [];
let sorted = { column: null, isDescending: false };
let isFirst = true;

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function newRun(name) {
  const index = [...Array(runs.size).keys()].find((i) => ![...runs.values()].some((run) => run.index === i)) ?? runs.size;
  return { ...newLog(name, index), index, chosen: false, settings: [] };
}

/** Asks what there is, and fetches what is new of the chosen runs; says whether anything is. */
async function update() {
  const { runs: listed, settings: newSettings, num_settings_left_out: numLeftOut } = await ask("runs.json");
  let changed = isFirst || listed.length !== runs.size || JSON.stringify(newSettings) !== JSON.stringify(settings);
  settings = newSettings;
  section("settings-left-out").hidden = !numLeftOut;
  section("settings-left-out").textContent = `The runs differ in ${readable(numLeftOut)} more settings: see each run.toml.`;
  for (const name of runs.keys()) {
    if (!listed.some((row) => row.name === name)) runs.delete(name);
  }
  const byAge = [...listed].sort((one, other) => one.age_seconds - other.age_seconds);
  for (const row of listed) {
    if (!runs.has(row.name)) {
      const run = newRun(row.name);
      run.chosen = !isFirst || byAge.indexOf(row) < MOST_CHOSEN;
      runs.set(row.name, run);
      changed = true;
    }
    const run = runs.get(row.name);
    if (row.num_bytes < run.offset) Object.assign(run, emptyLog());
    if (JSON.stringify(row.plan) !== JSON.stringify(run.plan)) changed = true;
    run.plan = row.plan;
    run.settings = row.settings;
    run.base = row.made_from && { name: row.made_from, isListed: row.is_listed };
    run.hasReport = row.has_report;
    run.ageSeconds = row.age_seconds;
    run.numBytes = row.num_bytes;
  }
  isFirst = false;
  for (const run of runs.values()) {
    if (run.chosen && run.numBytes > run.offset) {
      const news = await ask(`run.json?${new URLSearchParams({ name: run.name, offset: run.offset })}`);
      changed ||= news.offset > run.offset;
      addNews(run, news);
    }
  }
  return changed;
}

function latest(run, curve) {
  return run.curves[curve]?.[1].at(-1);
}

function status(run) {
  const last = run.events.findLast(({ event }) => event === "start" || event === "end");
  if (last?.event === "end") return last.status ?? "ended";
  return run.ageSeconds > SILENT_SECONDS ? `silent for ${readableSeconds(run.ageSeconds)}` : "training";
}

/** The seconds until a run's last step; nothing when it is not training. */
function timeLeft(run) {
  return status(run) === "training" ? (secondsLeft(run) ?? "") : "";
}

/** The cells of a run behind its name: what is shown, and the value that they are sorted by. */
function cellsOf(run) {
  const step = run.curves.seconds?.[0].at(-1) ?? run.curves.train_loss?.[0].at(-1);
  const left = timeLeft(run);
  const loss = (name) => [latest(run, name)?.toFixed(4) ?? "", latest(run, name)];
  const speed = latest(run, "tokens_per_second");
  return [
    [run.offset ? status(run).replaceAll("_", " ") : ""],
    [step === undefined ? "" : readable(step) + (run.num_steps ? ` of ${readable(run.num_steps)}` : ""), step],
    [left === "" ? "" : readableSeconds(left), left],
    loss("train_loss"),
    loss("validation_loss"),
    loss("bits_per_byte"),
    [speed === undefined ? "" : readable(Math.round(speed)), speed],
    ...run.settings.map((value) => [value === null ? "" : readable(value), value]),
  ].map(([text, value]) => ({ text, value: value ?? text }));
}

/** Numbers before texts, and what is not known last, in both directions. */
function compare(one, other) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const order = typeof one === "number" && typeof other === "number" ? one - other : typeof one === typeof other ? one.localeCompare(other, "en", { numeric: true }) : typeof one === "number" ? -1 : 1;
  return sorted.isDescending ? -order : order;
}

/** A heading that sorts the runs: smallest first, then largest first, then as they were. */
function sortable(th, column) {
  const button = make("button", { type: "button", title: th.title }, th.textContent);
  button.addEventListener("click", () => {
    const isSorted = sorted.column === column;
    sorted = isSorted && sorted.isDescending ? { column: null, isDescending: false } : { column, isDescending: isSorted };
    showRuns();
  });
  th.removeAttribute("title");
  th.replaceChildren(button);
  th.dataset.column = column;
  return th;
}

fixedHeads.forEach((th, i) => sortable(th, i ? i - 1 : "name"));

/** The headings of the settings in which the runs differ; those that are there already stay. */
function showHeads() {
  const row = section("runs").querySelector("thead tr");
  const shown = [...row.children].slice(fixedHeads.length).map((th) => th.dataset.setting);
  if (JSON.stringify(shown) !== JSON.stringify(settings.map(([path]) => path))) {
    if (sorted.column >= fixedHeads.length - 1) sorted = { column: null, isDescending: false };
    const heads = settings.map(([path, label], i) => {
      const isNumber = [...runs.values()].some((run) => typeof run.settings[i] === "number");
      const th = make("th", { scope: "col", title: path, class: isNumber ? "number" : null, "data-setting": path }, label);
      return sortable(th, fixedHeads.length - 1 + i);
    });
    row.replaceChildren(...fixedHeads, ...heads);
  }
  for (const th of row.children) {
    const direction = th.dataset.column === String(sorted.column) ? (sorted.isDescending ? "descending" : "ascending") : null;
    if (direction) th.setAttribute("aria-sort", direction);
    else th.removeAttribute("aria-sort");
  }
}

/** The links of a run: its report, and the run that it was made from. */
function linksOf(run) {
  const rows = [...runs.values()];
  const base = run.base?.isListed ? rows.find(({ name }) => name === run.base.name) : null;
  return [
    run.hasReport ? make("a", { href: `runs/${encodeURIComponent(run.name)}/report.html` }, "report") : null,
    run.base ? make("span", {}, "from ", base ? make("a", { href: `#run-${base.index}` }, base.name) : run.base.name) : null,
  ].filter((link) => link !== null);
}

/** The row of each run is made once, so that a person's place in the table stays. */
function showRuns() {
  showHeads();
  const body = section("runs").querySelector("tbody");
  for (const run of runs.values()) {
    if (!run.row) {
      const box = make("input", { type: "checkbox" });
      box.checked = run.chosen;
      box.addEventListener("change", () => {
        run.chosen = box.checked;
        showAll();
        poll();
      });
      const swatch = make("span", { class: `swatch c${run.color}${run.dashed ? " dashed" : ""}` });
      run.links = make("div", { class: "links" });
      run.row = make("tr", { id: `run-${run.index}` }, make("td", {}, make("label", {}, box, swatch, run.name), run.links));
    }
    const links = linksOf(run);
    if (links.map(({ outerHTML }) => outerHTML).join() !== [...run.links.children].map(({ outerHTML }) => outerHTML).join()) {
      run.links.replaceChildren(...links);
    }
    run.cells = cellsOf(run);
    const heads = section("runs").querySelectorAll("thead th");
    while (run.row.children.length > heads.length) run.row.lastChild.remove();
    run.cells.forEach(({ text }, i) => {
      const cell = run.row.children[i + 1] ?? run.row.appendChild(make("td"));
      cell.className = heads[i + 1].className;
      if (cell.textContent !== text) cell.textContent = text;
    });
  }
  const shown = [...runs.values()];
  if (sorted.column !== null) {
    const value = (run) => (sorted.column === "name" ? run.name : run.cells[sorted.column].value);
    shown.sort((one, other) => compare(value(one), value(other)));
  }
  const rows = shown.map(({ row }) => row);
  if (rows.length !== body.children.length || rows.some((row, i) => body.children[i] !== row)) {
    const focused = document.activeElement;
    body.replaceChildren(...rows);
    if (rows.some((row) => row.contains(focused))) focused.focus({ preventScroll: true });
  }
  section("none").hidden = runs.size > 0;
}

function showAll() {
  const chosen = [...runs.values()].filter((run) => run.chosen && run.offset > 0);
  showRuns();
  section("curves").hidden = !chosen.length;
  curves.show(chosen);
  showPlan(section("plan"), chosen);
  showSamples(section("samples"), chosen, true);
  showEvents(section("events"), chosen, true);
}

function say(text) {
  if (section("state").textContent !== text) section("state").textContent = text;
}

let timer;
let isPolling = false;

async function poll() {
  if (isPolling) return;
  isPolling = true;
  clearTimeout(timer);
  try {
    const changed = await update();
    if (changed) showAll();
    else showRuns();
    say("live");
  } catch (error) {
    say("not connected: gptsmith watch has ended, or does not answer");
  }
  isPolling = false;
  timer = setTimeout(poll, POLL_MS);
}

poll();
