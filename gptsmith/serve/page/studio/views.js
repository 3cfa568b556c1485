/**
 * The views of the studio. Each is a module with `show(place, studio)`, which fills its place and may go on until
 * `studio.signal` is aborted. `inside` is the entry of the navigation that a view belongs to.
 */
export const VIEWS = [
  { name: "home", inside: "home", load: () => import("./home.js") },
  { name: "runs", inside: "home", load: () => import("./run.js") },
  { name: "compared", inside: "home", load: () => import("./compare_runs.js") },
  { name: "take", inside: "home", load: () => import("./take.js") },
  { name: "data", inside: "data", load: () => import("./data.js") },
  { name: "train", inside: "train", load: () => import("./train.js") },
  { name: "talk", inside: "talk", href: "talk", load: () => import("./talk.js") },
  { name: "marks", inside: "talk", load: () => import("./marks.js") },
  { name: "improve", inside: "improve", load: () => import("./improve.js") },
];
