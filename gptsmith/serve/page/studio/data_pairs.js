/** Questions and answers that a model makes of a collection of texts. */

import { el, fill, icon } from "../element.js";
import { tried } from "./dialogs.js";
import { said } from "./said.js";

const BUSY = new Set(["waiting", "running", "stopping"]);
const USUAL_LIMIT = 100;

export async function showPairs(place, collection, studio) {
  const { api, t } = studio;
  const query = { name: collection.name };
  const body = el("div.findings", {});
  fill(place, el("h2", {}, t("data.part_pairs")), el("p", {}, t("data.pairs_about")), body);
  const [now, { models }] = await Promise.all([api.get("data/pairs", query), api.get("train/models")]);
  const able = models.filter(({ kind, problem }) => kind === "chat" && !problem);

  /** Follows a job to its end; then it can be begun anew. */
  async function follow() {
    await api.follow("data/pairs", (news) => {
      if (!body.isConnected) return false;
      if (BUSY.has(news.state)) showProgress(news);
      else showForm(news);
      return BUSY.has(news.state);
    }, { query });
  }

  function showProgress({ state, job, progress }) {
    const { fraction = null } = progress ?? {};
    const words = t(state === "waiting" ? "data.audit_waits" : "data.pairs_run");
    const bar = body.querySelector("progress");
    if (bar && fraction !== null) {
      bar.value = fraction;
      body.querySelector("p").textContent = words;
      return;
    }
    if (bar) return;
    fill(body, el("p", {}, words), el("progress", { max: 1, ...(fraction !== null && { value: fraction }), "aria-label": t("data.pairs_run") }),
      el("div.row", {}, el("button", { type: "button", onclick: tried(studio, () => api.post("jobs/cancel", { id: job })) }, t("data.cancel"))));
  }

  function showForm(news) {
    const model = el("select", {}, able.map(({ id, name }) => el("option", { value: id }, name)));
    const limit = el("input.number", { type: "number", min: 1, max: 10000, value: USUAL_LIMIT, required: true });
    const begin = tried(studio, async () => {
      if (!limit.reportValidity()) return;
      await api.post("data/pairs", { ...query, model: model.value, limit: Number(limit.value), made: t("data.pairs_name", query) });
      await follow();
    });
    fill(body,
      news.made && el("p", {}, t("data.pairs_made", { pairs: news.num_pairs, passages: news.num_passages }), " ",
        el("a", { href: `#/data/${encodeURIComponent(news.made)}/documents` }, el("bdi", {}, news.made))),
      news.state === "failed" && el("p.problem", { role: "alert", dir: "auto" }, icon("alert"), said(t, news.message, news.notice)),
      able.length
        ? el("form", { onsubmit: (event) => { event.preventDefault(); begin(); } },
          el("div.row", {}, el("label", {}, t("data.pairs_model"), " ", model), el("label", {}, t("data.pairs_limit"), " ", limit),
            el("button.primary", { type: "submit" }, t("data.pairs_make"))))
        : el("p.soft", {}, t("data.pairs_no_model")));
  }

  if (BUSY.has(now.state)) await follow();
  else showForm(now);
}
