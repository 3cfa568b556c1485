/** Runs beside each other: their figures, the settings in which they differ, and their curves in the same charts. */

import { addNews, Curves, newLog, showSamples, useWords } from "../charts.js";
import { el, fill, readableBytes, readableCount } from "../element.js";
import { runState } from "./figures.js";
import { chartWords, number as counted } from "./words.js";

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
  const number = (value) => (typeof value === "number" ? value.toFixed(4) : "");
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
  const samples = el("section.part", {}, el("h2", {}, t("run.samples")));
  fill(place,
    el("div", {}, el("a", { href: "#/" }, t("home.title"))),
    el("h1", {}, t("compared.title")),
    el("div.scroll.card", { tabIndex: 0, role: "region", "aria-label": t("compared.title") }, el("table", {}, el("thead", {}, el("tr", {}, el("td"), heads)), el("tbody", {}, rows))),
    found.num_settings_left_out > 0 && el("p.soft", {}, t("compared.leftOut", { count: found.num_settings_left_out })),
    curves, samples);
  const charts = new Curves(curves, true);
  studio.signal.addEventListener("abort", () => charts.show([]));
  charts.show(logs);
  showSamples(samples, logs, true);
}
