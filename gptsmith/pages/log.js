/** What a page knows of a run's log, which grows by what a server sends from a byte offset on. */
function newLog(name, index = 0) {
  return { name, color: index % 8, dashed: index % 16 >= 8, ...emptyLog() };
}

function emptyLog() {
  return { offset: 0, curves: {}, samples: [], events: [], num_events_left_out: 0 };
}

/** Adds what is new in a run's log. */
function addNews(log, news) {
  for (const [name, [steps, values]] of Object.entries(news.curves)) {
    const curve = (log.curves[name] ??= [[], []]);
    // A run that went back to an earlier step leaves what it had there.
    while (curve[0].length && curve[0].at(-1) >= steps[0]) curve.forEach((column) => column.pop());
    curve[0].push(...steps);
    curve[1].push(...values);
  }
  const firstStep = news.samples[0]?.step;
  if (typeof firstStep === "number") log.samples = log.samples.filter(({ step }) => !(step >= firstStep));
  log.samples.push(...news.samples);
  log.events.push(...news.events);
  log.num_events_left_out += news.num_events_left_out;
  log.num_steps = news.num_steps;
  log.offset = news.offset;
}

/** The seconds until the last step, at the pace of the last steps; null where that is not known. */
function secondsLeft(log) {
  const [steps, seconds] = log.curves.seconds ?? [[], []];
  if (steps.length < 2 || !log.num_steps) return null;
  const first = Math.max(0, steps.length - 20);
  const pace = (seconds.at(-1) - seconds[first]) / (steps.at(-1) - steps[first]);
  return pace >= 0 ? Math.max(0, log.num_steps - steps.at(-1)) * pace : null;
}
