/** The studio: its views, and the way from one to the other. */

import "../input_method.js"; // first: before other modules listen to keys

import { el, fill } from "../element.js";
import { keep, kept } from "../memory.js";
import { lasting, passing, speak } from "../popup.js";
import { Api, enter } from "./api.js";
import { chooseLanguage, language, LANGUAGES, t } from "./words.js";
import { VIEWS } from "./views.js";

const THEMES = ["system", "light", "dark"];
const place = (id) => document.getElementById(id);

let leaving = new AbortController();

/** The view and what it is about: #/runs/my%20texts is ["runs", "my texts"]. */
const address = () => location.hash.replace(/^#\/?/, "").split("/").map(decode);

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Goes to a view: go("runs", "my texts"). */
function go(...parts) {
  location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [name = "", ...about] = address();
  const view = VIEWS.find((one) => one.name === (name || "home")) ?? VIEWS[0];
  for (const link of place("top").querySelectorAll("nav a")) {
    const isHere = link.dataset.view === view.inside;
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const studio = { api: new Api(signal), about, go, t, signal, passing, lasting, speak };
  const shown = el("div.view", { data: { view: view.name } });
  try {
    const { show: showView } = await view.load();
    if (signal.aborted) return;
    fill(place("main"), shown);
    document.title = `${t(`${view.inside}.title`)} · gptsmith`;
    scrollTo(0, 0);
    await showView(shown, studio);
  } catch (error) {
    if (signal.aborted) return;
    fill(place("main"), shown);
    fill(shown, el("h1", {}, t("trouble.title")), el("p", { role: "alert" }, error.message),
      el("button", { type: "button", onclick: show }, t("trouble.again")));
    if (error.kind !== "key" && error.name !== "ServerError") console.error(error);
  }
}

function showTop() {
  document.documentElement.lang = language();
  place("skip").textContent = t("top.skip");
  const links = VIEWS.filter((view) => view.name === view.inside).map((view) =>
    el("a", { href: view.href ?? `#/${view.name}`, data: { view: view.name } }, t(`${view.name}.title`)));
  const themes = el("select", { "aria-label": t("top.theme"), onchange: ({ target }) => { keep("localStorage", "theme", target.value); showTheme(); } },
    THEMES.map((name) => el("option", { value: name, selected: name === theme() }, t(`top.${name}`))));
  const languages = el("select", { "aria-label": t("top.language"), onchange: ({ target }) => { chooseLanguage(target.value); showTop(); show(); } },
    Object.entries(LANGUAGES).map(([code, { name }]) => el("option", { value: code, lang: code, selected: code === language() }, name)));
  fill(place("top"), el("span.wordmark", {}, "gptsmith"), el("nav", { "aria-label": t("top.views") }, links), languages, themes);
}

const theme = () => kept("localStorage", "theme") ?? "system";

function showTheme() {
  if (theme() === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme();
}

place("skip").addEventListener("click", (event) => { event.preventDefault(); place("main").focus(); });
enter();
showTheme();
showTop();
addEventListener("hashchange", () => { if (!enter()) show(); });
show();
