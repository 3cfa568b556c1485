/** Charts in the order in which they stand: title, unit, and the curves that share one where one run is shown. */
const CHARTS = [
  { title: "Loss", unit: "nats", curves: { train_loss: "training", validation_loss: "validation" } },
  { title: "Bits per byte", unit: "of validation text", curves: { bits_per_byte: "bits per byte" } },
  { title: "Throughput", unit: "tokens per second", curves: { tokens_per_second: "tokens per second" }, fromZero: true },
  { title: "Gradient norm", unit: "before the step", curves: { gradient_norm: "gradient norm" } },
  { title: "Learning rate", unit: "share of its peak", curves: { lr_multiplier: "share" }, fromZero: true },
];
const X_ONLY = ["num_tokens", "seconds"];
const TITLES = { train_loss: "Training loss", validation_loss: "Validation loss" };

/** The value of a curve ([steps, values]) at a step, on the line between its points. */
function valueAt([steps, values], step) {
  let low = 0;
  let high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return steps[0] === 0 ? values[0] : (values[0] * step) / steps[0];
  const share = (step - steps[low - 1]) / (steps[low] - steps[low - 1]);
  return values[low - 1] + share * (values[low] - values[low - 1]);
}

/** The charts of runs ({name, color, dashed, curves}), with what a person chooses about their axes. */
class Curves {
  constructor(root, several) {
    this.charts = new Map();
    this.runs = [];
    this.choices = {};
    this.tools = make("div", { class: "tools", role: "group", "aria-label": word("axes") });
    this.grid = make("div", { class: "charts" });
    this.choice("x axis", "x", { step: "steps", num_tokens: "tokens", seconds: "time" });
    this.choice("x scale", "xScale", { linear: "linear", log: "logarithmic" });
    this.choice("y scale", "yScale", { linear: "linear", log: "logarithmic" });
    if (several) this.choice("runs", "layout", { over: "one over the other", beside: "side by side" });
    root.append(this.tools, this.grid);
  }

  choice(label, key, options) {
    const select = make("select", { name: key }, ...Object.entries(options).map(([value, text]) => make("option", { value }, word(text))));
    this.choices[key] = select;
    select.addEventListener("change", () => this.show(this.runs));
    this.tools.append(make("label", {}, word(label), select));
  }

  show(runs) {
    this.runs = runs;
    const axis = this.axis(runs);
    const wanted = this.wanted(runs).map((chart) => ({ ...chart, lines: this.lines(chart.series, axis) }));
    const xs = range(wanted.flatMap(({ lines }) => lines.map(({ points }) => [points[0][0], points.at(-1)[0]])));
    const xRange = axis.xLog ? xs : [Math.min(0, xs[0]), xs[1]];
    for (const [key, chart] of this.charts) {
      if (wanted.some((one) => one.key === key)) continue;
      chart.remove();
      this.charts.delete(key);
    }
    wanted.forEach(({ key, title: name, unit, group, fromZero, lines }, i) => {
      if (!this.charts.has(key)) this.charts.set(key, new Chart(name, unit));
      const chart = this.charts.get(key);
      if (this.grid.children[i] !== chart.element) this.grid.insertBefore(chart.element, this.grid.children[i] ?? null);
      chart.element.classList.toggle("first", i > 0 && group !== wanted[i - 1].group && this.choices.layout?.value === "beside");
      const together = wanted.filter((one) => one.group === group).flatMap((one) => one.lines);
      chart.show(lines, { ...axis, xRange, yRange: yRange(together), fromZero });
    });
  }

  /** Which charts there are, from which curves of which runs. */
  wanted(runs) {
    const known = new Set([...CHARTS.flatMap(({ curves }) => Object.keys(curves)), ...X_ONLY]);
    const others = [...new Set(runs.flatMap(({ curves }) => Object.keys(curves)))].filter((name) => !known.has(name)).sort();
    const ours = CHARTS.map((chart) => ({ ...chart, title: word(chart.title), unit: word(chart.unit) }));
    const groups = [...ours, ...others.map((name) => ({ title: title(name), unit: "", curves: { [name]: name } }))];
    const charts = [];
    for (const { title: name, unit, curves, fromZero } of groups) {
      const present = Object.entries(curves).filter(([curve]) => runs.some((run) => run.curves[curve]));
      if (runs.length === 1 && present.length) {
        const series = present.map(([curve, label], i) => {
          const color = (runs[0].color + present.length - 1 - i) % 8;
          return { run: runs[0], curve, name: word(label), color, thin: curve === "train_loss" };
        });
        charts.push({ key: name, group: name, title: name, unit, series, fromZero });
        continue;
      }
      for (const [curve] of present) {
        const heading = curve in TITLES ? word(TITLES[curve]) : name;
        const series = runs
          .filter((run) => run.curves[curve])
          .map((run) => ({ run, curve, name: run.name, color: run.color, dashed: run.dashed, thin: curve === "train_loss" }));
        const chart = { key: heading, group: heading, title: heading, unit, series, fromZero };
        if (this.choices.layout?.value !== "beside") charts.push(chart);
        else charts.push(...series.map((one) => ({ ...chart, key: `${heading} ${one.name}`, title: `${heading}: ${one.name}`, series: [one] })));
      }
    }
    return charts;
  }

  axis(runs) {
    const kind = this.choices.x.value;
    const axis = { kind, xLog: this.choices.xScale.value === "log", yLog: this.choices.yScale.value === "log", divisor: 1 };
    if (kind !== "seconds") return { ...axis, xName: word(kind === "step" ? "step" : "tokens"), xFormat: readable };
    const longest = Math.max(0, ...runs.map(({ curves }) => curves.seconds?.[1].at(-1) ?? 0));
    const [divisor, xName] = longest > 2 * 3600 ? [3600, "hours"] : longest > 180 ? [60, "minutes"] : [1, "seconds"];
    return { ...axis, divisor, xName: word(xName), xFormat: (value) => readable(Number(value.toPrecision(3)), true) };
  }

  /** The series that have points on these axes, with them. */
  lines(series, { kind, divisor, xLog, yLog }) {
    return series
      .map(({ run, curve, ...look }) => {
        const [steps, values] = run.curves[curve];
        const along = run.curves[kind];
        const place = kind === "step" ? (step) => step : (step) => (along ? valueAt(along, step) / divisor : NaN);
        const points = steps.map((step, i) => [place(step), values[i]]);
        return { ...look, points: points.filter(([x, y]) => (xLog ? x > 0 : x >= 0) && (!yLog || y > 0)) };
      })
      .filter(({ points }) => points.length > 0);
  }
}

/** `Some name` of some_name. */
function title(name) {
  if (name === "mfu") return "MFU";
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
