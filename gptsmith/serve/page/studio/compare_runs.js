/** Runs beside each other: their figures, the settings in which they differ, and their curves in the same charts. */

import { addNews, Curves, newLog, showSamples, useWords } from "../charts.js";
import { el, fill, readableBytes, readableCount } from "../element.js";
import { tried } from "./dialogs.js";
import { runState } from "./figures.js";
import { showRows } from "./in_place.js";
import { ACTIVE, jobRow } from "./jobs_list.js";
import { chartWords, number as counted } from "./words.js";

const EVERY_MS = 1500;
const DIGITS = 4;

export async function show(place, studio) {
  const { api, t } = studio;
  useWords(chartWords());
  const query = new URLSearchParams(studio.about.map((name) => ["run", name]));
  const found = await api.get(`compared?${query}`);
  const logs = found.runs.map((run, i) => {
    const log = newLog(run.name, i);
    addNews(log, run.news);
    return log;
  });
  const number = (value) => (typeof value === "number" ? value.toFixed(DIGITS) : "");
  const figures = [
    [t("compared.state"), ({ row }) => runState(t, row)],
    [t("compared.parameters"), ({ row }) => (row.num_parameters ? readableCount(row.num_parameters) : "")],
    [t("compared.size"), ({ row }) => readableBytes(row.num_bytes)],
    [t("compared.steps"), ({ row }) => (typeof row.step === "number" ? counted(row.step) : "")],
    [t("compared.loss"), ({ row }) => number(row.validation_loss)],
    [t("compared.bits"), ({ row }) => number(row.bits_per_byte)],
    ...found.settings.map(([path, label], i) => [label, ({ settings }) => settings[i] ?? "", path]),
  ];
  const heads = found.runs.map(({ name }, i) => el("th", { scope: "col" },
    el(`span.swatch.c${logs[i].color}`), " ", el("a", { href: `#/runs/${encodeURIComponent(name)}`, dir: "auto" }, name)));
  const rows = figures.map(([label, value, path]) =>
    el("tr", {}, el("th", { scope: "row", title: path ?? "" }, label), found.runs.map((run) => el("td", {}, String(value(run))))));
  const curves = el("section.part", {}, el("h2", {}, t("run.curves")));
  const differences = el("section.card", { "aria-label": t("compared.real") });
  const samples = el("section.part", {}, el("h2", {}, t("run.samples")));
  fill(place,
    el("div", {}, el("a", { href: "#/" }, t("home.title"))),
    el("h1", {}, t("compared.title")),
    el("div.scroll.card", { tabIndex: 0, role: "region", "aria-label": t("compared.title") }, el("table", {}, el("thead", {}, el("tr", {}, el("td"), heads)), el("tbody", {}, rows))),
    found.num_settings_left_out > 0 && el("p.soft", {}, t("compared.leftOut", { count: found.num_settings_left_out })),
    differences, curves, samples);
  const charts = new Curves(curves, true);
  studio.signal.addEventListener("abort", () => charts.show([]));
  charts.show(logs);
  showSamples(samples, logs, true);
  await showDifferences(differences, found.runs.map(({ name }) => name), studio);
}

/** Which of the differences are more than chance; they are measured when somebody asks. */
async function showDifferences(place, names, studio) {
  const { api, t } = studio;
  const [first] = names;
  const list = el("ul.differences");
  const measure = el("button", { type: "button", onclick: tried(studio, async () => take(await api.post("differences", { runs: names }))) }, t("compared.measure"));
  fill(place, el("h2", {}, t("compared.real")), el("p.soft", {}, t("compared.real_about", { name: first })), list, el("div.row", {}, measure));

  function take({ differences }) {
    measure.hidden = differences.every(({ job, figures }) => figures || (job && ACTIVE.includes(job.state)));
    const rows = showRows(list, differences.filter(({ job }) => job), {
      key: ({ name }) => name,
      signature: ({ figures }) => JSON.stringify(figures),
      make: (one) => (one.figures ? el("li", {}, difference(first, one, t)) : jobRow(studio)),
    });
    differences.filter(({ job }) => job).forEach(({ job }, number) => rows[number].show?.(job));
  }

  const query = names.map((name) => `run=${encodeURIComponent(name)}`).join("&");
  await api.follow(`differences?${query}`, take, { everyMs: EVERY_MS });
}

/** A difference in words, with what it is made of. */
function difference(first, { name, figures }, t) {
  const { first: ours, other: theirs, difference: found, is_real: isReal, is_same_text: isSameText } = figures;
  const digits = (value) => value.toFixed(DIGITS);
  const [size, ...ends] = found.map(Math.abs);
  const [low, high] = ends.sort((one, other) => one - other);
  const words = !isReal ? t("compared.real_nothing", { name, first, low: digits(found[1]), high: digits(found[2]) })
    : t(found[0] > 0 ? "compared.real_better" : "compared.real_worse", { name, first, size: digits(size), low: digits(low), high: digits(high) });
  const measured = [[first, ours], [name, theirs]].map(([run, [value, least, most]]) =>
    t("compared.measured", { name: run, value: digits(value), low: digits(least), high: digits(most) }));
  return [el("p", { dir: "auto", data: { real: String(isReal) } }, isReal ? words : el("strong", {}, words)), el("p.soft", { dir: "auto" }, measured.join(" · ")), !isSameText && el("p.soft", {}, t("compared.other_text", { name }))];
}
