/** Times for people. */

/** Minutes: 45 s, 10 min, 1 h 30 min. */
export function readableMinutes(minutes, t) {
  if (minutes < 0.995) return t("time.seconds", { count: Math.max(1, Math.round(minutes * 60)) });
  const whole = Math.round(minutes);
  if (whole < 60) return t("time.minutes", { count: Number(minutes.toFixed(minutes < 10 ? 1 : 0)) });
  const [hours, rest] = [Math.floor(whole / 60), whole % 60];
  return rest ? t("train.hours_minutes", { hours, minutes: rest }) : t("time.hours", { count: hours });
}
