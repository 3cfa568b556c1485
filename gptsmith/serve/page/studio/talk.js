import { el, fill } from "../element.js";

export async function show(place, { t }) {
  fill(place, el("h1", {}, t("talk.title")));
}
