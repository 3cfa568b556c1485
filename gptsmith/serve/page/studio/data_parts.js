/** The parts of a collection: documents, examples, findings, changes and files. */

import { el } from "../element.js";
import { showChanges } from "./data_changes.js";
import { showDocument } from "./data_document.js";
import { showDocuments } from "./data_documents.js";
import { showExamples } from "./data_examples.js";
import { showFiles } from "./data_files.js";
import { showFindings } from "./data_findings.js";
import { showPairs } from "./data_pairs.js";

const PARTS = [
  ["documents", showDocuments],
  ["examples", showExamples],
  ["findings", showFindings],
  ["pairs", showPairs],
  ["changes", showChanges],
  ["files", showFiles],
];

/** The part that the address names. */
export const partOf = ([, part]) => (PARTS.some(([name]) => name === part) ? part : "documents");

/** Links to the parts. */
export function partLinks({ about, t }) {
  const here = partOf(about);
  return el("nav.parts", { "aria-label": t("data.parts") }, PARTS.map(([name]) => el("a", {
    href: `#/data/${encodeURIComponent(about[0])}/${name}`, "aria-current": name === here && "page",
  }, t(`data.part_${name}`))));
}

/** Shows a part. `onChange` is called after something was changed in it. */
export async function showPart(place, collection, studio, onChange, name) {
  const [, , item] = studio.about;
  if (name === "documents" && item) await showDocument(place, collection, studio, onChange);
  else await PARTS.find(([each]) => each === name)[1](place, collection, studio, onChange);
}
