/** How far above the best a trial is drawn, as a multiple of how far the upper quartile is. */
const FARTHEST = 2;

/** A setting against the validation loss, a point a trial. All of them show the trial that one of them is asked about. */
class Scatter extends Chart {
  constructor(setting, trials, best, choose) {
    super(title(setting.label), "validation loss");
    this.setting = setting;
    this.best = best;
    this.choose = choose;
    const points = trials.filter(({ loss }) => loss !== null);
    const top = highest(points);
    this.points = points
      .map((trial) => ({ trial, x: trial.values[setting.name], y: Math.min(trial.loss, top), above: trial.loss > top }))
      .sort((one, other) => one.x - other.x);
    this.show(points.length ? [{ name: setting.label, color: 0, points: this.points.map(({ x, y }) => [x, y]) }] : [], {
      xName: setting.label,
      xFormat: (value) => readable(Number(value.toPrecision(3)), true),
      xRange: padded([setting.low, setting.high], setting.log),
      yRange: [Math.min(...this.points.map(({ y }) => y)), top],
      xLog: setting.log,
    });
  }

  drawSeries() {
    const order = (point) => (point.trial === this.best ? 2 : point.trial.is_whole ? 1 : 0);
    for (const point of this.points.toSorted((one, other) => order(one) - order(other))) {
      this.svg.append(...this.markers(point, point.trial === this.best ? 6 : 4.5));
    }
  }

  /** What shows a trial: a triangle at the upper edge where it lies above. */
  markers({ trial, x, y, above }, size) {
    const [cx, cy] = [this.x(x), this.y(y)];
    const styles = `trial ${trial === this.best ? "c1" : "c0"}${trial.is_whole ? "" : " given-up"}`;
    const triangle = `M${cx},${cy - size}L${cx + size},${cy + size * 0.8}L${cx - size},${cy + size * 0.8}Z`;
    const shape = above ? make("path", { class: styles, d: triangle }) : make("circle", { class: styles, cx, cy, r: size });
    shape.dataset.trial = trial.number;
    return trial.number === 1 ? [shape, make("circle", { class: "ring", cx, cy, r: size + 4 })] : [shape];
  }

  words() {
    const said = this.points.map(({ trial, x }) => `trial ${trial.number} at ${this.spec.xFormat(x)}: ${readable(trial.loss)}`);
    return `Validation loss by ${this.setting.label}: ${said.join("; ") || "nothing yet"}`;
  }

  point(event) {
    if (!this.x) return;
    const box = this.svg.getBoundingClientRect();
    const [left, top] = [event.clientX - box.left, event.clientY - box.top];
    const distance = ({ x, y }) => (this.x(x) - left) ** 2 + (this.y(y) - top) ** 2;
    const near = this.points.reduce((one, other) => (distance(other) < distance(one) ? other : one));
    this.choose(near.trial, this);
  }

  key(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction || !this.x) return;
    event.preventDefault();
    const at = this.points.findIndex(({ trial }) => trial === this.at);
    const next = at < 0 ? (direction > 0 ? 0 : this.points.length - 1) : at + direction;
    this.choose(this.points[Math.min(this.points.length - 1, Math.max(0, next))].trial, this);
  }

  /** Shows where a trial is, and, where the pointer is here, what it is. */
  showTrial(trial, isOwner) {
    this.unmark();
    const point = this.points.find((one) => one.trial === trial);
    if (!point) return;
    this.at = trial;
    this.overlay.append(make("circle", { class: "ring marked", cx: this.x(point.x), cy: this.y(point.y), r: 8 }));
    if (!isOwner) return;
    this.tip.replaceChildren(
      make("strong", {}, `trial ${trial.number}: ${readable(trial.loss)}`),
      make("div", {}, make("span", { class: "name" }, this.setting.label), this.spec.xFormat(point.x)),
      ...[wordsOf(trial, this.best)].filter(Boolean).map((text) => make("div", { class: "name" }, text)),
    );
    this.showTip(this.x(point.x));
  }

  unmark() {
    super.unmark();
    this.at = null;
  }
}

/** The highest loss that is drawn. A few trials that are far worse than the others would press those together. */
function highest(trials) {
  const losses = trials.map(({ loss }) => loss).sort((a, b) => a - b);
  const upper = losses[Math.floor(0.75 * (losses.length - 1))];
  return Math.min(losses.at(-1), losses[0] + FARTHEST * (upper - losses[0]));
}

function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** What there is to say of a trial besides its figures. */
function wordsOf(trial, best) {
  const ends = { early: "ended early, because the loss only rose", diverged: "went astray, and was given up" };
  const pruned = trial.status === "pruned" ? `given up after ${percent(trial.share)}` : ends[trial.status];
  return [trial === best ? "the best" : null, trial.number === 1 ? "the defaults" : null, pruned].filter(Boolean).join(", ");
}

/** How much each setting mattered, as bars. */
function importanceFigure(settings) {
  const bar = (share) => {
    const ends = { x1: "0", y1: "50%", y2: "50%" };
    return make(
      "svg",
      { class: "bar", "aria-hidden": "true" },
      make("line", { class: "rest", ...ends, x2: "100%" }),
      share > 0 && make("line", { class: "c0", ...ends, x2: `${share * 100}%` }),
    );
  };
  return make(
    "figure",
    { class: "importance" },
    make("figcaption", {}, make("h3", {}, "Importance of settings")),
    make(
      "ul",
      {},
      ...settings.map(({ label, importance }) =>
        make("li", {}, make("span", {}, label), bar(importance), make("span", { class: "number" }, percent(importance))),
      ),
    ),
    make(
      "p",
      { class: "soft" },
      "The share of the variation between trials that a setting alone explains: adjusted R² of a parabola of the setting, ",
      "fitted to the ranks of the validation losses. With few trials it is a rough estimate.",
    ),
  );
}

/** A search: how it stands, what mattered, each setting against the loss, and the trials with the best one first. */
function showSearch(root, { num_trials, settings, trials }) {
  const best = trials.find(({ is_whole }) => is_whole);
  const defaults = trials.find(({ number }) => number === 1);
  const charts = [];
  const rows = trials.map((trial) => [
    String(trial.number),
    trial.loss === null ? "" : readable(trial.loss),
    ...settings.map(({ name }) => readable(Number(trial.values[name].toPrecision(3)))),
    readableSeconds(trial.seconds),
    wordsOf(trial, best),
  ]);
  const columns = ["trial", "validation loss", ...settings.map(({ label }) => label), "time", ""];
  const list = grid(columns, rows);
  const lines = [...list.querySelectorAll("tbody tr")];
  const choose = (trial, owner) => {
    charts.forEach((chart) => (trial ? chart.showTrial(trial, chart === owner) : chart.unmark()));
    lines.forEach((line, i) => line.classList.toggle("marked", trials[i] === trial));
  };
  lines.forEach((line, i) => {
    line.classList.toggle("best", trials[i] === best);
    line.classList.toggle("given-up", !trials[i].is_whole);
    line.addEventListener("pointerenter", () => choose(trials[i], null));
  });
  charts.push(...settings.map((setting) => new Scatter(setting, trials, best, choose)));
  const isWeighed = settings.some(({ importance }) => importance !== null);
  const content = make(
    "div",
    { class: "search" },
    make("p", {}, standing(num_trials, trials, best, defaults)),
    make("ul", { class: "legend" }, ...legend()),
    make("div", { class: "charts" }, isWeighed ? importanceFigure(settings) : null, ...charts.map(({ element }) => element)),
    list,
  );
  content.addEventListener("pointerleave", () => choose(null, null));
  fill(root, content);
}

/** How a search stands, in a few sentences. */
function standing(numTrials, trials, best, defaults) {
  const givenUp = trials.filter(({ is_whole }) => !is_whole).length;
  const said = [`${trials.length < numTrials ? `${trials.length} of ${numTrials}` : numTrials} trials have ended`];
  if (givenUp) said[0] += `, ${givenUp} of them given up before their end`;
  if (best) said.push(`The best is trial ${best.number}, with a validation loss of ${readable(best.loss)}`);
  if (best && best !== defaults && defaults?.is_whole) said[1] += `; the defaults come to ${readable(defaults.loss)}`;
  return `${said.join(". ")}. No trial has seen the examples that judge.`;
}

function legend() {
  const one = (shape, text) => make("li", {}, make("svg", { class: "key", "aria-hidden": "true" }, shape), make("span", {}, text));
  const circle = (styles, r) => make("circle", { class: styles, cx: 8, cy: 8, r });
  return [
    one(circle("trial c0", 4.5), "a trial"),
    one(circle("trial c1", 6), "the best"),
    one(circle("ring", 6), "the defaults"),
    one(circle("trial c0 given-up", 4.5), "given up, with its last loss"),
    one(make("path", { class: "trial c0", d: "M8,3L13,12L3,12Z" }), "above the chart"),
  ];
}
