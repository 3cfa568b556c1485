/** Figures of runs for people. */

import { readableBytes, readableCount } from "../element.js";

/** A time, coarsely: 12 s, 3 min, 2 h, 5 days. */
export function duration(t, seconds) {
  if (seconds < 100) return t("time.seconds", { count: Math.max(1, Math.round(seconds)) });
  if (seconds < 90 * 60) return t("time.minutes", { count: Math.round(seconds / 60) });
  if (seconds < 36 * 3600) return t("time.hours", { count: Math.round(seconds / 3600) });
  return t("time.days", { count: Math.round(seconds / 86400) });
}

/** How a run stands. */
export function runState(t, run) {
  const name = `state.${run.state}`;
  const words = t(name);
  return words === name ? String(run.state).replaceAll("_", " ") : words;
}

/** What a run is and how good, in a few words. */
export function about(t, run) {
  const made = t(`made.${run.made_by}`);
  return [
    made === `made.${run.made_by}` ? run.made_by : made,
    run.num_parameters ? t("home.parameters", { count: readableCount(run.num_parameters) }) : "",
    typeof run.bits_per_byte === "number" ? t("home.bits", { value: run.bits_per_byte.toFixed(3) })
      : typeof run.validation_loss === "number" ? t("home.loss", { value: run.validation_loss.toFixed(3) }) : "",
    run.num_bytes ? readableBytes(run.num_bytes) : "",
  ].filter(Boolean).join(" · ");
}
