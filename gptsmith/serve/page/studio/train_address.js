/** What a training is to be, in the address: a reload, a bookmark and another tab show the same. */

export const STOPS = [1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 600, 720];
export const USUAL_MINUTES = 10;
const SET = "set.", OPTION = "option.";

/** The wish that the address holds: { data, base, minutes, name, options, settings }. */
export function readWish() {
  const [path, query = ""] = location.hash.slice(1).split("?", 2);
  const given = new URLSearchParams(query);
  const wish = { data: decoded(path.split("/")[2] ?? ""), base: given.get("base"), part: given.get("part"), minutes: Number(given.get("minutes")), name: given.get("name") ?? "", options: {}, settings: {} };
  if (!(wish.minutes > 0 && Number.isFinite(wish.minutes))) wish.minutes = USUAL_MINUTES;
  for (const [key, value] of given) {
    if (key.startsWith(SET)) wish.settings[key.slice(SET.length)] = value;
    if (key.startsWith(OPTION)) wish.options[key.slice(OPTION.length)] = value;
  }
  return wish;
}

/** Keeps a wish in the address, without showing the view anew. */
export function keepWish(wish) {
  const query = new URLSearchParams();
  query.set("minutes", wish.minutes);
  if (wish.base !== null) query.set("base", wish.base);
  if (wish.part !== null) query.set("part", wish.part);
  if (wish.name) query.set("name", wish.name);
  for (const [name, value] of Object.entries(wish.options)) query.set(OPTION + name, value);
  for (const [path, value] of Object.entries(wish.settings)) query.set(SET + path, value);
  history.replaceState(null, "", `#/train/${encodeURIComponent(wish.data)}?${query}`);
}

/** A part of an address as it was meant, or as it is. */
export function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The stop that is nearest to a time, as the slider's place. */
export function stopOf(minutes) {
  const distances = STOPS.map((stop) => Math.abs(Math.log(stop / minutes)));
  return distances.indexOf(Math.min(...distances));
}

/** Minutes that a person typed: "90", "1.5 h", "2 hours", "30 s"; null if they are none. */
export function typedMinutes(text) {
  const found = /^\s*(\d+(?:[.,]\d+)?)\s*(\p{L}*)\s*$/u.exec(text);
  if (!found) return null;
  const number = Number(found[1].replace(",", "."));
  const unit = found[2].toLowerCase();
  const times = /^(s|sec|second|秒)/.test(unit) ? 1 / 60 : /^(h|hour|小时|时)/.test(unit) ? 60 : unit === "" || /^(m|min|分)/.test(unit) ? 1 : 0;
  return number * times > 0 ? number * times : null;
}
