/** The list of conversations. */

import { el, fill, icon, iconButton } from "./element.js";
import { month, t } from "./words.js";

const DAY_MS = 86_400_000;

/** The head: a new conversation, and a search. `on` has `create`, `search` and `close`. */
export function showHead(target, on) {
  const search = el("input", { type: "search", id: "search", placeholder: t("chat.search"), "aria-label": t("chat.search_conversations") });
  search.addEventListener("input", () => on.search(search.value));
  fill(target,
    el("div.row", {},
      el("span.wordmark", {}, "gptsmith"),
      iconButton("close", t("chat.close_list"), on.close, { id: "close-sidebar" })),
    el("button.new", { type: "button", onclick: on.create }, icon("plus"), t("chat.new")),
    el("div.search", {}, icon("search"), search));
}

/** The conversations, newest first under their days. `on` has `show` and `menu`. */
export function showList(target, summaries, { shown, isFound, writing }, on) {
  const told = JSON.stringify([shown, isFound, summaries.map(({ id, title, updated }) => [id, title, dayOf(updated), writing.has(id)])]);
  // What has not changed stays, with the focus and the click that may be on it.
  if (target.dataset.told === told) return;
  target.dataset.told = told;
  const place = target.contains(document.activeElement) ? document.activeElement : null;
  const [id, kind] = [place?.closest("li")?.dataset.id, place?.classList[0]];
  if (!summaries.length) {
    fill(target, el("p.soft", {}, t(isFound ? "chat.no_match" : "chat.kept_here")));
    return;
  }
  const groups = new Map();
  for (const one of summaries) {
    const day = dayOf(one.updated);
    groups.set(day, [...(groups.get(day) ?? []), one]);
  }
  fill(target, [...groups].map(([day, ones]) => el("section", {},
    el("h2", {}, day),
    el("ul", {}, ones.map((one) => el("li", { class: one.id === shown ? "is-shown" : "", data: { id: one.id } },
      el("button.conversation", { type: "button", "aria-current": one.id === shown ? "page" : null, onclick: () => on.show(one.id) },
        el("span.title", { dir: "auto" }, one.title),
        writing.has(one.id) && el("span.dot", { title: t("chat.generating") })),
      iconButton("more", t("chat.more_for", { title: one.title }), (event) => on.menu(one, event.currentTarget))))))));
  if (id) target.querySelector(`li[data-id="${CSS.escape(id)}"] .${kind}`)?.focus({ preventScroll: true });
}

/** The foot: everything out, or in. */
export function showFoot(target, on) {
  const input = el("input", { type: "file", accept: ".json,application/json", hidden: true, "aria-label": t("chat.a_file") });
  input.addEventListener("change", async () => {
    if (input.files.length) on.import(await input.files[0].text());
    input.value = "";
  });
  fill(target, input,
    el("button", { type: "button", onclick: () => input.click() }, icon("import"), t("chat.import")),
    el("button", { type: "button", onclick: on.export }, icon("export"), t("chat.export_all")));
}

function dayOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return t("chat.today");
  if (time >= midnight - DAY_MS) return t("chat.yesterday");
  if (time >= midnight - 6 * DAY_MS) return t("chat.last_days");
  return month(time);
}
