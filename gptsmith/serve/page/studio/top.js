/** The top of every page of the studio: the way to the views, the language and the colours. */

import { el, fill } from "../element.js";
import { keep, kept } from "../memory.js";
import { VIEWS } from "./views.js";
import { chooseLanguage, language, LANGUAGES, t } from "./words.js";

const THEMES = ["system", "light", "dark"];
const theme = () => kept("localStorage", "theme") || "system";

/** Shows it; `here` is the entry that the page belongs to, and `onLanguage` is called when another language was chosen. */
export function showTop(target, here, onLanguage) {
  target.lang = language();
  const links = VIEWS.filter((view) => view.name === view.inside).map((view) =>
    el("a", { href: view.href ?? `./#/${view.name}`, data: { view: view.name } }, t(`${view.name}.title`)));
  const choose = ({ target: { value } }) => {
    chooseLanguage(value);
    showTop(target, target.querySelector("[aria-current]")?.dataset.view, onLanguage);
    target.querySelector("select:last-child").focus();
    onLanguage();
    target.querySelector("select").focus();
  };
  const themes = el("select", { "aria-label": t("top.theme"), onchange: ({ target: { value } }) => { keep("localStorage", "theme", value); showTheme(); } },
    THEMES.map((name) => el("option", { value: name, selected: name === theme() }, t(`top.${name}`))));
  const languages = el("select", { "aria-label": t("top.language"), onchange: choose },
    Object.entries(LANGUAGES).map(([code, { name }]) => el("option", { value: code, lang: code, selected: code === language() }, name)));
  fill(target, el("span.wordmark", {}, "gptsmith"), el("nav", { "aria-label": t("top.views") }, links), languages, themes);
  showHere(target, here);
  showTheme();
}

/** Marks the entry that the page belongs to. */
export function showHere(target, here) {
  for (const link of target.querySelectorAll("nav a")) {
    if (link.dataset.view === here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showTheme() {
  if (theme() === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme();
}
