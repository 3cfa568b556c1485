/** One improvement: it is trained, judged blind pair by pair, and its verdict. */

import { el, fill, readableSeconds } from "../element.js";
import { confirmed, tried } from "./data_dialogs.js";
import { Judging } from "./improve_judging.js";
import { readableP, recipeWords } from "./improve_words.js";

const AGAIN_MS = 1000;
const VERDICTS = ["better", "worse", "alike", "stopped"];

export async function showImprovement(place, studio) {
  const { api, t } = studio;
  const path = `improve/${encodeURIComponent(studio.about[0])}`;
  const title = el("h1", { dir: "auto" }), about = el("p.soft"), body = el("div.improve-body");
  const judging = new Judging(studio, body, (news) => update(news));
  let known = "";

  function update(news) {
    const { state, training, trouble, figures, is_default: isDefault, can_undo: canUndo } = news;
    fill(title, news.run);
    fill(about, t("improve.from_model", { model: news.model }), " ", recipeWords(news.recipe, t));
    if (state === "judging") {
      judging.update(news);
      known = "";
      return;
    }
    judging.leave();
    const now = JSON.stringify([state, training, trouble, figures, isDefault, canUndo]);
    if (now === known) return;
    known = now;
    const parts = state === "training" ? trainingParts(news, studio, act) : VERDICTS.includes(state) ? verdictParts(news, studio, act) : endedParts(news, t, act);
    fill(body, el("section.card", { data: { state } }, parts));
  }

  const act = tried(studio, async (action) => {
    if (action !== "remove") return update(await api.post("improve/do", { improvement: studio.about[0], action }));
    if (!await confirmed(t("improve.ask_remove", { run: title.textContent }), { button: t("improve.remove"), t })) return undefined;
    await api.remove(path);
    return studio.go("improve");
  });

  fill(place, el("p", {}, el("a", { href: "#/improve" }, t("improve.all"))), title, about, body);
  judging.act = act;
  await api.follow(path, update, { everyMs: AGAIN_MS });
}

function trainingParts({ training }, { t }, act) {
  const progress = training?.progress;
  const left = progress?.seconds_left ? t("improve.time_left", { time: readableSeconds(progress.seconds_left) }) : "";
  const bar = el("progress", { "aria-label": t("improve.state_training"), max: 1 });
  if (progress) bar.value = progress.fraction;
  return [
    el("h2", {}, training?.state === "waiting" ? t("improve.waits") : t("improve.state_training")),
    bar,
    el("p.soft", {}, [progress?.words, left].filter(Boolean).join(" · ")),
    el("p", {}, t("improve.training_note")),
    el("div.row", {}, el("button", { type: "button", onclick: () => act("cancel") }, t("improve.cancel"))),
  ];
}

function endedParts({ state, training }, t, act) {
  return [
    el("h2", {}, t(`improve.state_${state}`)),
    training?.message && el("p.text", { role: "alert", dir: "auto" }, training.message),
    el("div.row", {}, el("button", { type: "button", onclick: () => act("retry") }, t("improve.retry")), removeButton(t, act)),
  ];
}

function verdictParts(news, { t }, act) {
  const { state, figures, run, model } = news;
  const consequence = state !== "better" ? t("improve.old_stays")
    : news.is_default ? t("improve.now_default", { run, model }) : t("improve.not_default", { run });
  return [
    el("h2.improve-verdict", {}, t(`improve.verdict_${state}`)),
    el("p", {}, t("improve.score_long", { ...figures, num: news.num_judged }), " ", chance(news, t)),
    news.num_equal > 0 && el("p.soft", {}, t("improve.equal", { count: news.num_equal })),
    el("p", { dir: "auto" }, consequence),
    el("div.row", {},
      el("a.button", { href: "#/talk" }, t("improve.to_talk")),
      news.can_undo && el("button", { type: "button", onclick: () => act("undo") }, t("improve.undo")),
      state === "stopped" && el("button.primary", { type: "button", onclick: () => act("go_on") }, t("improve.judge_on")),
      removeButton(t, act)),
  ];
}

const removeButton = (t, act) => el("button", { type: "button", onclick: () => act("remove") }, t("improve.remove"));

function chance({ state, figures, num_more: more }, t) {
  if (state === "alike") return t("improve.why_alike");
  if (state === "stopped") return more === null ? "" : t("improve.unclear_more", { count: more });
  return t("improve.why_decided", { p: readableP(figures.p) });
}
