const POLL_MS = 2000;
const MOST_CHOSEN = 8;
const SILENT_SECONDS = 120;

const section = (name) => document.getElementById(name);
const runs = new Map();
const curves = new Curves(section("curves"), true);
let isFirst = true;

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function newRun(name) {
  const index = [...Array(runs.size).keys()].find((i) => ![...runs.values()].some((run) => run.index === i)) ?? runs.size;
  return { name, index, color: index % 8, dashed: index % 16 >= 8, chosen: false, ...nothing() };
}

function nothing() {
  return { offset: 0, curves: {}, samples: [], events: [], num_events_left_out: 0 };
}

/** Adds what is new in a run's log. */
function add(run, news) {
  for (const [name, [steps, values]] of Object.entries(news.curves)) {
    const curve = (run.curves[name] ??= [[], []]);
    // A run that went back to an earlier step leaves what it had there.
    while (curve[0].length && curve[0].at(-1) >= steps[0]) curve.forEach((column) => column.pop());
    curve[0].push(...steps);
    curve[1].push(...values);
  }
  const firstStep = news.samples[0]?.step;
  if (typeof firstStep === "number") run.samples = run.samples.filter(({ step }) => !(step >= firstStep));
  run.samples.push(...news.samples);
  run.events.push(...news.events);
  run.num_events_left_out += news.num_events_left_out;
  run.num_steps = news.num_steps;
  run.offset = news.offset;
}

/** Asks what there is, and fetches what is new of the chosen runs; says whether anything is. */
async function update() {
  const listed = (await ask("runs.json")).runs;
  let changed = isFirst || listed.length !== runs.size;
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
    if (row.num_bytes < run.offset) Object.assign(run, nothing());
    if (JSON.stringify(row.plan) !== JSON.stringify(run.plan)) changed = true;
    run.plan = row.plan;
    run.ageSeconds = row.age_seconds;
    run.numBytes = row.num_bytes;
  }
  isFirst = false;
  for (const run of runs.values()) {
    if (run.chosen && run.numBytes > run.offset) {
      const news = await ask(`run.json?${new URLSearchParams({ name: run.name, offset: run.offset })}`);
      changed ||= news.offset > run.offset;
      add(run, news);
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

/** The time until a run's last step, at the pace of its last steps; nothing when it is not training. */
function timeLeft(run) {
  const [steps, seconds] = run.curves.seconds ?? [[], []];
  if (steps.length < 2 || !run.num_steps || status(run) !== "training") return "";
  const first = Math.max(0, steps.length - 20);
  const pace = (seconds.at(-1) - seconds[first]) / (steps.at(-1) - steps[first]);
  return pace >= 0 ? readableSeconds(Math.max(0, run.num_steps - steps.at(-1)) * pace) : "";
}

/** The row of each run is made once, so that a person's place in the table stays. */
function showRuns() {
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
      run.cells = Array.from({ length: 7 }, (_, i) => make("td", { class: i ? "number" : null }));
      run.row = make("tr", {}, make("td", {}, make("label", {}, box, swatch, run.name)), ...run.cells);
    }
    const step = run.curves.seconds?.[0].at(-1) ?? run.curves.train_loss?.[0].at(-1);
    const steps = step === undefined ? "" : readable(step) + (run.num_steps ? ` of ${readable(run.num_steps)}` : "");
    const figures = ["train_loss", "validation_loss", "bits_per_byte"].map((name) => latest(run, name)?.toFixed(4) ?? "");
    const speed = latest(run, "tokens_per_second");
    const texts = [run.offset ? status(run) : "", steps, timeLeft(run), ...figures, speed === undefined ? "" : readable(Math.round(speed))];
    texts.forEach((text, i) => {
      if (run.cells[i].textContent !== text) run.cells[i].textContent = text;
    });
  }
  const rows = [...runs.values()].map(({ row }) => row);
  if (rows.length !== body.children.length || rows.some((row, i) => body.children[i] !== row)) body.replaceChildren(...rows);
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
