/** The studio: its views, and the way from one to the other. */

import "../input_method.js"; // first: before other modules listen to keys

import { el, fill } from "../element.js";
import { lasting, passing, speak } from "../popup.js";
import { ServerError } from "../server.js";
import { Api, enter } from "./api.js";
import { focusIn, focusNamed } from "./in_place.js";
import { showHere, showTop } from "./top.js";
import { decoded } from "./train_address.js";
import { language, t } from "./words.js";
import { VIEWS } from "./views.js";

const place = (id) => document.getElementById(id);

let leaving = new AbortController();
let breakSilence = null;

/** The view and what it is about: #/runs/my%20texts is ["runs", "my texts"]. */
const address = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);

/** Goes to a view: go("runs", "my texts"). */
function go(...parts) {
  location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
}

/** Says on every view that the studio does not answer, until it does. */
function tellSilence(isSilent) {
  if (isSilent) breakSilence ??= lasting(t("trouble.gone"));
  else breakSilence = breakSilence?.() ?? null;
}

/** Gives the focus to a new view where it was on something of the one before, and says its name. */
function enterView() {
  if (document.activeElement === document.body) place("main").focus({ preventScroll: true });
  speak(document.title);
}

async function show() {
  const isFirst = !place("main").hasChildNodes();
  const focused = focusIn(place("main"));
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  tellSilence(false);
  const [name = "", ...about] = address();
  const view = VIEWS.find((one) => one.name === (name || "home")) ?? VIEWS[0];
  showHere(place("top"), view.inside);
  const studio = { api: new Api(signal, tellSilence), about, go, t, signal, passing, lasting, speak };
  const shown = el("div.view", { data: { view: view.name } });
  try {
    const { show: showView } = await view.load().catch(() => { throw new ServerError("gone", t("trouble.gone")); });
    if (signal.aborted) return;
    fill(place("main"), shown);
    document.title = `${t(`${view.inside}.title`)} · gptsmith`;
    scrollTo(0, 0);
    if (!isFirst) enterView();
    await showView(shown, studio);
    // The same view of something else, such as another part of a collection.
    if (document.activeElement === place("main")) focusNamed(shown, focused);
  } catch (error) {
    if (signal.aborted) return;
    fill(place("main"), shown);
    fill(shown, el("h1", {}, t("trouble.title")), el("p", { role: "alert" }, error.message),
      el("button", { type: "button", onclick: show }, t("trouble.again")));
    if (error.kind !== "key" && error.name !== "ServerError") console.error(error);
  }
}

function showFrame() {
  document.documentElement.lang = language();
  place("skip").textContent = t("top.skip");
}

place("skip").addEventListener("click", (event) => { event.preventDefault(); place("main").focus(); });
enter();
showFrame();
showTop(place("top"), null, () => { showFrame(); show(); });
addEventListener("hashchange", () => { if (!enter()) show(); });
show();
