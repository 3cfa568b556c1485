/** A bar that says how far something is. */

import { el, setText } from "../element.js";

/**
 * How far something is: a title, words, the button that ends it, and a bar. `show({words, fraction})` brings it up to date in
 * place, so that the button keeps the focus and a click.
 */
export function progressBar(title, button, label) {
  const words = el("span.soft", { dir: "auto" });
  const bar = el("progress", { max: 1, "aria-label": label });
  const shown = el("div.progress", {}, el("div.row", {}, title, words, el("span.space"), button), bar);
  shown.show = ({ words: news = "", fraction = null, hasBar = true }) => {
    setText(words, news);
    bar.hidden = !hasBar;
    if (typeof fraction === "number") bar.value = fraction;
    else bar.removeAttribute("value");
  };
  return shown;
}
