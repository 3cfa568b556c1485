/** One improvement: it is trained, judged blind pair by pair, and its verdict. */

import { el, fill, setText } from "../element.js";
import { confirmed, tried } from "./dialogs.js";
import { Judging } from "./improve_judging.js";
import { readableP, recipeWords } from "./improve_words.js";
import { progressWords } from "./jobs_list.js";
import { progressBar } from "./progress.js";
import { said } from "./said.js";

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
    setText(title, news.run);
    setText(about, `${t("improve.from_model", { model: news.model })} ${recipeWords(news.recipe, t)}`);
    if (state === "judging") {
      judging.update(news);
      known = "";
      return undefined;
    }
    judging.leave();
    if (state === "training") {
      known = "";
      if (!trainingCard.isConnected) fill(body, trainingCard);
      return trainingCard.show(training);
    }
    const now = JSON.stringify([state, training, trouble, figures, isDefault, canUndo]);
    if (now === known) return undefined;
    known = now;
    const parts = VERDICTS.includes(state) ? verdictParts(news, studio, act) : endedParts(news, t, act);
    fill(body, el("section.card", { data: { state } }, parts));
    return undefined;
  }

  const act = tried(studio, async (action) => {
    if (action !== "remove") return update(await api.post("improve/do", { improvement: studio.about[0], action }));
    if (!await confirmed(t("improve.ask_remove", { run: title.textContent }), { button: t("improve.remove"), t })) return undefined;
    await api.remove(path);
    return studio.go("improve");
  });

  fill(place, el("p", {}, el("a", { href: "#/improve" }, t("improve.all"))), title, about, body);
  const trainingCard = cardOfTraining(t, act);
  judging.act = act;
  await api.follow(path, update, { everyMs: AGAIN_MS });
}

/** The card of the training; `show(job)` brings it up to date. */
function cardOfTraining(t, act) {
  const cancel = el("button", { type: "button", onclick: () => act("cancel") }, t("improve.cancel"));
  const bar = progressBar(el("h2.unseen", {}, t("improve.state_training")), cancel, t("improve.state_training"));
  const card = el("section.card", { data: { state: "training" } }, bar, el("p", {}, t("improve.training_note")));
  card.show = (job) => bar.show({ words: job ? progressWords(t, job) : "", fraction: job?.progress?.fraction });
  return card;
}

function endedParts({ state, training }, t, act) {
  return [
    el("h2", {}, t(`improve.state_${state}`)),
    training?.message && el("p.text", { role: "alert", dir: "auto" }, said(t, training.message, training.notice)),
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
