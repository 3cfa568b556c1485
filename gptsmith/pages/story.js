const PLANNED = {
  seconds: ["time", readableSeconds],
  num_tokens: ["tokens", readable],
  peak_memory_bytes: ["memory at its peak", readableBytes],
  bits_per_byte: ["bits per byte", readable],
};

/** The predicted figures of a run beside the actual ones, for the runs that have a plan. */
function showPlan(root, runs) {
  const rows = [];
  const replans = runs.flatMap(({ name, plan }) => (plan?.replanned ?? []).map((record) => [name, record]));
  for (const { name, plan } of runs) {
    const newest = plan?.replanned?.at(-1) ?? {};
    for (const [key, [label, format]] of Object.entries(PLANNED)) {
      const [predicted, actual] = [plan?.predicted?.[key], plan?.actual?.[key]];
      if (typeof predicted !== "number" && typeof actual !== "number") continue;
      const { [`${key}_low`]: low, [`${key}_high`]: high } = plan.predicted ?? {};
      const span = typeof low === "number" && typeof high === "number";
      const both = typeof predicted === "number" && typeof actual === "number" && predicted !== 0;
      const change = both ? Math.round((actual / predicted - 1) * 100) : null;
      const isWithin = low <= actual && actual <= high;
      const within = span && typeof actual === "number" ? `, ${word(isWithin ? "as predicted" : "not as predicted")}` : "";
      rows.push([
        ...(runs.length > 1 ? [name] : []),
        word(label),
        (typeof predicted === "number" ? format(predicted) : "") + (span ? ` (${format(low)} to ${format(high)})` : ""),
        ...(replans.length ? [typeof newest[key] === "number" ? format(newest[key]) : ""] : []),
        typeof actual === "number" ? format(actual) : word("not yet"),
        change === null ? "" : `${change > 0 ? "+" : change < 0 ? "−" : ""}${Math.abs(change)} %${within}`,
      ]);
    }
  }
  const named = runs.length > 1 ? ["run"] : [];
  const again = replans.length ? ["planned again"] : [];
  const columns = [...named, "figure", "predicted", ...again, "actual", "difference"];
  const tables = [grid(columns, rows)];
  if (replans.length) {
    const whys = replans.map(([name, record]) => [...(runs.length > 1 ? [name] : []), ...replanCells(record)]);
    tables.push(grid([...named, "at step", "planned again because", "tokens", "bits per byte", "minutes left"], whys));
  }
  fill(root, rows.length ? make("div", {}, ...tables) : null);
}

/** A record of a run's plan that was made again: at which step, why, and what became of its figures. */
function replanCells(record) {
  const change = (key) => {
    const [before, after] = [record[`${key}_before`], record[key]];
    return typeof before === "number" && typeof after === "number" ? `${readable(before)} → ${readable(after)}` : "";
  };
  const left = record.minutes_left;
  return [
    readable(record.step),
    record.why ?? "",
    change("num_tokens"),
    change("bits_per_byte"),
    typeof left === "number" ? left.toFixed(1) : "",
  ];
}

/** What the models wrote: oldest first in a report, newest first while it grows. */
function showSamples(root, runs, newestFirst) {
  const withSamples = runs.filter(({ samples }) => samples.length);
  const cards = withSamples.map((run) => {
    const chosen = newestFirst ? run.samples.toReversed() : run.samples;
    const shown = chosen.map(({ step, text }) => {
      const curve = run.curves.validation_loss;
      const measured = curve && typeof step === "number" ? curve[0].findLastIndex((at) => at <= step) : -1;
      const loss = measured >= 0 ? `, ${word("validation loss")} ${readable(curve[1][measured])}` : "";
      return make(
        "article",
        { class: "sample" },
        make("p", {}, `${word("step")} ${readable(step)}${loss}`),
        make("blockquote", { dir: "auto" }, text),
      );
    });
    return runs.length > 1 ? make("div", {}, make("h3", {}, make("span", { class: `c${run.color}` }, "● "), run.name), ...shown) : shown;
  });
  fill(root, cards.length ? make("div", { class: "samples" }, ...cards.flat()) : null);
}

/** What happened besides training. */
function showEvents(root, runs, newestFirst) {
  const rows = [];
  for (const run of runs) {
    const chosen = newestFirst ? run.events.toReversed() : run.events;
    if (run.num_events_left_out) rows.push([run.name, "", "", `${readable(run.num_events_left_out)} earlier events are in metrics.jsonl`]);
    for (const { event, step, ...details } of chosen) {
      rows.push([run.name, typeof step === "number" ? readable(step) : "", word(title(event)), detailsOf(details)]);
    }
  }
  const columns = ["run", "step", "event", "what"];
  const first = runs.length > 1 ? 0 : 1;
  fill(root, rows.length ? grid(columns.slice(first), rows.map((row) => row.slice(first))) : null);
}

function detailsOf(details) {
  return Object.entries(details)
    .filter(([name, value]) => name !== "environment" && name !== "run" && value !== null)
    .map(([name, value]) => `${name.replace(/(^|_)num_/g, "$1").replaceAll("_", " ")} ${typeof value === "object" ? JSON.stringify(value) : readable(value)}`)
    .join(" · ");
}

function grid(columns, rows) {
  return make(
    "div",
    { class: "scroll", tabindex: 0 },
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, word(name))))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))))),
    ),
  );
}

/** Puts content below the heading of a section, or hides the section where there is none. */
function fill(root, content) {
  root.hidden = content === null;
  root.replaceChildren(root.querySelector("h2"), ...(content === null ? [] : [content]));
}
