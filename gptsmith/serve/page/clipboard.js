/** What is copied. */

import { make } from "./element.js";
import { t } from "./words.js";

/** Puts a text on the clipboard, or throws an error for a person. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // There is no clipboard on pages that came neither over HTTPS nor from this machine, or it is not allowed.
    copySelected(text);
  }
}

function copySelected(text) {
  const focused = document.activeElement;
  const area = make("textarea", { readonly: "", "aria-hidden": "true" });
  area.value = text;
  area.style.position = "fixed";
  area.style.opacity = "0";
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  if (!isCopied) throw new Error(t("chat.no_clipboard"));
}
