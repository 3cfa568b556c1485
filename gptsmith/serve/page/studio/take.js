/** Take it along: copies of a run for other programs, each with its certificate, and downloads. */

import { el, fill, iconButton, readableBytes } from "../element.js";
import { confirmed, tried } from "./dialogs.js";
import { showRows } from "./in_place.js";
import { jobRow } from "./jobs_list.js";
import { openBesides, save } from "./links.js";

const EVERY_MS = 1500;

/** A name that Ollama takes for a model. */
const ollamaName = (name) => name.replace(/[^\w.-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "") || "my-model";

export async function show(place, studio) {
  const { api, t } = studio;
  const [name] = studio.about;
  const encoded = encodeURIComponent(name);
  const format = el("select", { onchange: () => showPrecisions() });
  const precision = el("select");
  const copies = el("ul.runs", { "aria-label": t("take.copies") });
  const form = el("form.take", { onsubmit: tried(studio, write) },
    el("label", {}, t("take.format"), format), el("label", {}, t("take.precision"), precision),
    el("button.primary", { type: "submit" }, t("take.write")));
  fill(place,
    el("div", {}, el("a", { href: `#/runs/${encoded}`, dir: "auto" }, name)),
    el("h1.run-name", { dir: "auto" }, t("take.title", { name })),
    el("section.card", {}, el("p.soft", {}, t("take.intro")), form),
    el("section.part", {}, el("h2", {}, t("take.copies")), copies),
    el("section.card", {}, el("div.row", {}, el("span", {}, t("take.run")), el("span.space"),
      el("button", { type: "button", onclick: tried(studio, () => save(api, `archives/${encoded}`)) }, t("take.download")))));
  let formats = {};

  function showPrecisions() {
    fill(precision, (formats[format.value] ?? []).map((one) => el("option", { value: one }, t(`take.${one}`))));
  }

  async function write(event) {
    event.preventDefault();
    await api.post("copies/write", { run: name, format: format.value, precision: precision.value });
  }

  const titleOf = (copy) => [t(`take.${copy.format}`), t(`take.${copy.precision}`)].join(" · ");

  function copyRow(copy) {
    if (!copy.is_ready) return jobRow(studio);
    const title = titleOf(copy);
    const path = encodeURIComponent(copy.name);
    const remove = iconButton("trash", `${t("run.delete")}: ${title}`, tried(studio, async () => {
      if (await confirmed(t("take.askDelete", { name: copy.name }), { button: t("run.delete"), t })) await api.post("copies/delete", { copy_name: copy.name });
    }));
    return el("li.run", {},
      el("div.what", {}, el("strong", {}, title), el("p.soft", { dir: "auto" }, [t("take.where", { folder: `exports/${copy.name}` }), readableBytes(copy.num_bytes)].join(" · ")),
        el("p.soft", { dir: "auto" }, t(`take.how_${copy.format}`, { name: ollamaName(name) })),
        copy.certificate_reason && el("p.soft", {}, copy.certificate_reason)),
      el("button", { type: "button", onclick: tried(studio, () => openBesides(api, `copies/certificate/${path}`)) }, t("take.certificate", { outcome: t(`certificate.${copy.certificate}`.replace(" ", "_")) })),
      el("button", { type: "button", onclick: tried(studio, () => save(api, `copies/download/${path}`)) }, t("take.download")), remove);
  }

  await api.follow(`copies/of/${encoded}`, (news) => {
    if (JSON.stringify(news.formats) !== JSON.stringify(formats)) {
      formats = news.formats;
      fill(format, Object.keys(formats).map((one) => el("option", { value: one }, t(`take.${one}`))));
      showPrecisions();
    }
    if (!news.copies.length) return fill(copies, el("li.soft", {}, t("take.none")));
    const rows = showRows(copies, news.copies, { key: (copy) => copy.name, signature: (copy) => (copy.is_ready ? JSON.stringify(copy) : "job"), make: copyRow });
    rows.forEach((row, place) => row.show?.({ ...news.copies[place].job, title: titleOf(news.copies[place]) }));
    return undefined;
  }, { everyMs: EVERY_MS });
}
