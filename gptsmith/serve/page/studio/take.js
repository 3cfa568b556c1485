import { el, fill } from "../element.js";

export async function show(place, { t, about: [name] }) {
  fill(place, el("h1", {}, t("take.title", { name })));
}
