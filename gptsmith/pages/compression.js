/** The divergence of everything that was tried against its bytes; what was chosen, in another colour. */
function showTrials(root, points, title = "What was tried") {
  const measured = points.filter(({ kl_divergence: y }) => typeof y === "number" && y > 0);
  if (!root || !measured.length) return;
  const sorted = measured.toSorted((one, other) => one.weight_bytes - other.weight_bytes);
  const line = (chosen) => sorted.filter((point) => point.is_chosen === chosen);
  const series = [
    ...(line(false).length ? [{ name: "tried", color: 0, points: places(line(false)) }] : []),
    ...line(true).map((point) => ({ name: point.name, color: 1, points: places([point]) })),
  ];
  const bytes = sorted.map(({ weight_bytes: x }) => x);
  const values = sorted.map(({ kl_divergence: y }) => y);
  const chart = new Chart(title, "KL divergence, nats per token");
  root.append(
    chart.element,
    grid(
      ["setting", "bytes", "KL divergence"],
      sorted.map(({ name, weight_bytes: x, kl_divergence: y, is_chosen: chosen }) => [
        name + (chosen ? " (chosen)" : ""),
        readableBytes(x),
        readable(y),
      ]),
    ),
  );
  chart.show(series, {
    xName: "bytes of weights",
    xFormat: readableBytes,
    xRange: padded([Math.min(...bytes), Math.max(...bytes)], false),
    yRange: [Math.min(...values), Math.max(...values)],
    yLog: true,
  });
}

/** The points of a line, rising in x, one for each place. */
function places(trials) {
  const best = new Map();
  for (const { weight_bytes: x, kl_divergence: y } of trials) best.set(x, Math.min(y, best.get(x) ?? Infinity));
  return [...best];
}
