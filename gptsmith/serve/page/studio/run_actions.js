/** What can be done with a run: the same wherever it is shown. */

import { el, icon } from "../element.js";
import { openMenu } from "../popup.js";
import { askLine, confirmed, tried } from "./dialogs.js";
import { ACTIVE } from "./jobs_list.js";

const hasWeights = (run) => !["empty", "unreadable"].includes(run.state) && Boolean(run.num_bytes);

const isTalker = (run) => hasWeights(run) && run.kind !== null && run.kind !== "classifier";

const talkAddress = (run) => `talk?model=${encodeURIComponent(run.name)}`;

/** The next step with a model that is ready: a button to talk to it; null while it trains or if it only labels. */
export function talkLink({ t }, run, look = "a.button") {
  const isBusy = Boolean(run.job) && ACTIVE.includes(run.job.state);
  return isTalker(run) && !isBusy && !["running", "stopping"].includes(run.state) ? el(look, { href: talkAddress(run), "aria-label": t("run.talk_to", { name: run.name }) }, t("talk.title")) : null;
}

/** Opens the menu of a run; `onChange(newName)` is called when something was done: null if the run is gone. */
export function openRunMenu(studio, anchor, run, onChange) {
  const { t } = studio;
  const entries = [];
  const add = (picture, name, action) => entries.push([icon(picture), t(`run.${name}`), action]);
  const isTrained = hasWeights(run);
  if (run.job && ACTIVE.includes(run.job.state)) add("stop", "stop", tried(studio, () => stopRun(studio, run, onChange)));
  if (run.can_resume) add("go", "resume", tried(studio, () => resumeRun(studio, run, onChange)));
  if (isTalker(run)) add("send", "talk", () => { location.href = talkAddress(run); });
  if (isTrained) add("plus", "further", () => { location.hash = `#/train/?base=${encodeURIComponent(run.name)}`; });
  if (isTrained) add("export", "take", () => studio.go("take", run.name));
  if (isTrained && !run.is_default) add("down", "default", tried(studio, async () => {
    await studio.api.post("runs/default", { run: run.name });
    onChange(run.name);
  }));
  if (!run.job && run.num_bytes) {
    add("edit", "rename", tried(studio, () => renameRun(studio, run, onChange)));
    add("trash", "delete", tried(studio, () => deleteRun(studio, run, onChange)));
  }
  openMenu(anchor, t("run.menu", { name: run.name }), entries);
}

export async function stopRun(studio, run, onChange) {
  await studio.api.post("jobs/cancel", { id: run.job.id });
  onChange(run.name);
}

export async function resumeRun(studio, run, onChange) {
  await studio.api.post("runs/resume", { run: run.name });
  onChange(run.name);
}

async function renameRun(studio, run, onChange) {
  const name = await askLine(studio.t("run.newName"), { value: run.name, button: studio.t("run.rename"), t: studio.t });
  if (name === null || name === run.name) return;
  await studio.api.post("runs/rename", { run: run.name, name });
  onChange(name);
}

async function deleteRun(studio, run, onChange) {
  const { t } = studio;
  const { run: found } = await studio.api.get(`runs/${encodeURIComponent(run.name)}`);
  const followers = found?.followers ?? [];
  const question = followers.length ? t("run.askDeleteBase", { name: run.name, followers: followers.join(", ") }) : t("run.askDelete", { name: run.name });
  if (!(await confirmed(question, { button: t("run.delete"), t }))) return;
  await studio.api.post("runs/delete", { run: run.name });
  studio.passing(t("run.deleted", { name: run.name }));
  onChange(null);
}
