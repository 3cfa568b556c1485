/** The chat page in the studio: the same page, with the studio's navigation, marks, and two models side by side. */

import "../input_method.js"; // first: before other modules listen to keys

import { el, fill } from "../element.js";
import { extra } from "../extra.js";
import { keep, keptValue } from "../memory.js";
import { passing } from "../popup.js";
import { path } from "../tree.js";
import { Api, token } from "./api.js";
import { Compare } from "./compare.js";
import { Duel, newPair, waitingPair } from "./duel.js";
import { TalkDocuments } from "./talk_documents.js";
import { TalkMarks } from "./talk_marks.js";
import { showTop } from "./top.js";
import { t } from "./words.js";

const place = (id) => document.getElementById(id);
const api = new Api();
const compare = new Compare();
const duels = new Map();
let shownApp = null;
let defaultModel;

const marks = new TalkMarks(api, {
  change: () => shownApp && refresh(shownApp),
  problem: (error) => passing(error.message),
  reopen: (conversation, node) => {
    conversation.selected[node.parent] = null;
    conversation.updated = Date.now();
    shownApp.library.keep(conversation);
    shownApp.showThread();
    duelOf(shownApp)?.element.querySelector("button.better")?.focus();
  },
});

const documents = new TalkDocuments(api, () => shownApp?.showSend());

/** Shows below the answers what is known of their marks now. */
function refresh(app) {
  app.thread.setWriting(app.thread.writing);
  if (!app.reply) duelOf(app)?.show();
}

/** The pair that waits for a verdict in the conversation that is shown. */
function duelOf(app) {
  const nodes = waitingPair(app.conversation);
  if (!nodes) return null;
  const { pair } = nodes[0].duel;
  // Another tab may have brought other objects for the same messages.
  if (duels.get(pair)?.nodes.some((node, number) => node !== nodes[number])) duels.delete(pair);
  if (!duels.has(pair)) duels.set(pair, new Duel(app, app.conversation, nodes, marks));
  return duels.get(pair);
}

Object.assign(extra, {
  hasLanguage: true,
  whereKept: () => t("talk.where_kept"),
  firstModel: () => defaultModel,
  bar: (app) => [compare.show(app), documents.show(app)],
  more: (app, node) => marks.more(app.conversation, node),
  edited: (app, node, made) => marks.edited(app.conversation, node, made),
  fields: () => documents.fields(),
  waitsFor: (conversation) => {
    const isText = conversation.mode === "text";
    if (waitingPair(conversation)) return t(isText ? "talk.choose_text" : "talk.choose_first");
    return isText ? "" : documents.waitsFor();
  },
  shown: (app) => {
    shownApp = app;
    const duel = duelOf(app);
    if (duel) {
      place("thread").append(duel.element);
      duel.show();
    }
    marks.look([...path(app.conversation), ...(duel?.nodes ?? [])]);
  },
  write: async (app, parentId) => {
    const { conversation } = app;
    if (!compare.chosen.isOn || parentId === null) return false;
    newPair(conversation, parentId, compare.sides(app), compare.chosen.isBlind);
    await duelOf(app).run();
    return true;
  },
});

/** Takes the model out of the address, for the next conversation. */
function takeModel() {
  const model = new URLSearchParams(location.search).get("model");
  if (!model) return;
  keep("sessionStorage", "new", JSON.stringify({ ...keptValue("sessionStorage", "new"), model, mode: "chat" }));
  history.replaceState(null, "", location.pathname);
}

function showFrame() {
  showTop(place("top"), "talk", () => location.reload());
  place("marks-link")?.remove();
  place("sidebar").append(el("a", { id: "marks-link", href: "./#/marks" }, t("marks.title")));
}

takeModel();
showFrame();
try {
  if (!token()) throw new Error(t("trouble.key"));
  defaultModel = (await api.get("talk")).default_model ?? undefined;
  await import("../app.js");
} catch (error) {
  if (shownApp) throw error;
  fill(place("thread"), el("div.notice", {}, el("p", { role: "alert" }, error.message), el("button", { type: "button", onclick: () => location.reload() }, t("trouble.again"))));
}
