/** Take it along: copies of a run for other programs, each with its certificate, and downloads. */

import { el, fill, iconButton, readableBytes } from "../element.js";
import { confirmed, tried } from "./data_dialogs.js";
import { ACTIVE, jobRow } from "./jobs_list.js";

const EVERY_MS = 1500;

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
      el("button", { type: "button", onclick: tried(studio, () => openLink(`archives/${encoded}`)) }, t("take.download")))));
  let formats = {};
  let shown = "";

  function showPrecisions() {
    fill(precision, formats[format.value].map((one) => el("option", { value: one }, t(`take.${one}`))));
  }

  async function write(event) {
    event.preventDefault();
    await api.post("copies/write", { run: name, format: format.value, precision: precision.value });
  }

  /** A download stays on the page; a certificate is opened beside it. */
  async function openLink(path, isPage = false) {
    const opened = isPage ? open("", "_blank") : null;
    const address = await api.link(path);
    if (opened) opened.location.replace(address);
    else location.assign(address);
  }

  function copyRow(copy) {
    const title = [t(`take.${copy.format}`), t(`take.${copy.precision}`)].join(" · ");
    if (!copy.is_ready) {
      const row = jobRow(studio);
      row.show({ ...copy.job, title });
      return row;
    }
    const path = encodeURIComponent(copy.name);
    const remove = iconButton("trash", `${t("run.delete")}: ${title}`, tried(studio, async () => {
      if (await confirmed(t("take.askDelete", { name: copy.name }), { button: t("run.delete"), t })) await api.post("copies/delete", { copy_name: copy.name });
    }));
    return el("li.run", {},
      el("div.what", {}, el("strong", {}, title), el("p.soft", { dir: "auto" }, [t("take.where", { folder: `exports/${copy.name}` }), readableBytes(copy.num_bytes)].join(" · ")),
        copy.certificate_reason && el("p.soft", {}, copy.certificate_reason)),
      el("button", { type: "button", onclick: tried(studio, () => openLink(`copies/certificate/${path}`, true)) }, t("take.certificate", { outcome: t(`certificate.${copy.certificate}`.replace(" ", "_")) })),
      el("button", { type: "button", onclick: tried(studio, () => openLink(`copies/download/${path}`)) }, t("take.download")), remove);
  }

  await api.follow(`copies/of/${encoded}`, (news) => {
    if (JSON.stringify(news.formats) !== JSON.stringify(formats)) {
      formats = news.formats;
      fill(format, Object.keys(formats).map((one) => el("option", { value: one }, t(`take.${one}`))));
      showPrecisions();
    }
    if (JSON.stringify(news.copies) === shown) return;
    shown = JSON.stringify(news.copies);
    fill(copies, news.copies.length ? news.copies.map(copyRow) : el("li.soft", {}, t("take.none")));
  }, { everyMs: EVERY_MS });
}
