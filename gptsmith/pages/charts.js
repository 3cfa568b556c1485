const SVG = "http://www.w3.org/2000/svg";
const MANY_POINTS = 500;
const SVG_TAGS = new Set(["svg", "g", "path", "line", "circle", "text"]);

/** An element with attributes and content; text is always text, never HTML. */
function make(tag, attributes = {}, ...content) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...content.filter((item) => item !== null && item !== undefined));
  return element;
}

let translations = {};

/** Shows charts, samples and tables in another language; `words` has its words by the English ones. */
function useWords(words) {
  translations = words;
}

/** A word of ours in the language of the page. */
const word = (english) => translations[english] ?? english;

/** What the page's maker wrote into it. */
function pageData() {
  return JSON.parse(document.getElementById("page-data").textContent);
}

/** A number for a person: 124,439,808 or 12.3M (where short), 1.47, 0.00012. */
function readable(value, short = false) {
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (short && size >= 1e4) {
    const [unit, letter] = size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return String(Number((value / unit).toPrecision(3))) + letter;
  }
  if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 1e-4) return String(Number(value.toPrecision(4)));
  return value.toExponential(2);
}

/** `4 min 10 s`: a time for a person. */
function readableSeconds(seconds) {
  if (typeof seconds !== "number") return String(seconds);
  if (seconds < 100) return `${readable(Number(seconds.toPrecision(3)))} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1.2 GB`: a size for a person. */
function readableBytes(bytes) {
  if (typeof bytes !== "number") return String(bytes);
  const power = Math.min(4, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return `${Number((bytes / 1000 ** power).toPrecision(3))} ${["bytes", "kB", "MB", "GB", "TB"][power]}`;
}

/** Round numbers from low to high: steps of 1, 2 or 5 times a power of ten, or those numbers themselves on a log axis. */
function ticks(low, high, most, log) {
  if (log) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) {
      for (const digit of [1, 2, 5]) {
        const value = Number((digit * 10 ** power).toPrecision(12));
        if (value >= low && value <= high) found.push(value);
      }
    }
    const tens = found.filter((value) => String(value.toExponential()).startsWith("1e"));
    if (found.length > most) return tens.filter((_, i) => i % Math.ceil(tens.length / most) === 0);
    if (found.length >= 2) return found;
  }
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((digit) => digit * power).find((candidate) => candidate >= rough * 0.999);
  const result = [];
  for (let i = Math.ceil(low / size - 1e-9); i * size <= high + size * 1e-9; i += 1) {
    result.push(Number((i * size).toPrecision(12)));
  }
  return result;
}

/** The position, in points sorted by x, of the one nearest to x. */
function nearest(points, x) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - points[low - 1][0] < points[low][0] - x ? low - 1 : low;
}

/** A line chart with its title and legend. Charts that stand together share the place of the cross. */
class Chart {
  static all = new Set();

  constructor(title, unit) {
    this.title = title;
    this.unit = unit;
    this.legend = make("ul", { class: "legend" });
    this.svg = make("svg", { class: "chart", role: "img", tabindex: "0" });
    this.tip = make("div", { class: "tip", role: "status", hidden: true });
    this.element = make(
      "figure",
      {},
      make("figcaption", {}, make("h3", {}, title), make("span", { class: "soft" }, unit), this.legend),
      this.svg,
      this.tip,
    );
    this.spec = null;
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", (event) => event.pointerType === "touch" || Chart.cross(null));
    this.svg.addEventListener("blur", () => Chart.cross(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    Chart.all.add(this);
  }

  remove() {
    this.observer.disconnect();
    Chart.all.delete(this);
    this.element.remove();
  }

  /**
   * Draws series: {name, color: 0 to 7, dashed, thin, points: [[x, y], ...] rising in x, at least one}.
   * Of spec: xName, xFormat, xRange, yRange ([low, high]), xLog, yLog, fromZero.
   */
  show(series, spec) {
    this.series = series;
    this.spec = spec;
    this.legend.replaceChildren(
      ...(series.length > 1 ? series : []).map(({ name, color, dashed }) =>
        make("li", {}, make("span", { class: `swatch c${color}${dashed ? " dashed" : ""}` }), make("span", {}, name)),
      ),
    );
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    if (!this.spec || width < 60) return;
    const { xLog, yLog, xName, xFormat } = this.spec;
    this.svg.setAttribute("aria-label", this.words());
    this.svg.replaceChildren();
    if (this.series.length === 0) {
      this.x = null;
      this.svg.append(make("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, word("nothing yet")));
      return;
    }
    const [xLow, end] = this.spec.xRange;
    const xHigh = end > xLow ? end : xLow + 1;
    const [yLow, yHigh] = padded(this.spec.yRange, yLog, this.spec.fromZero);
    const yTicks = ticks(yLow, yHigh, 5, yLog);
    const left = 12 + Math.max(...yTicks.map((value) => readable(value, true).length)) * 6.7;
    const [right, top, bottom] = [14, 8, 36];
    this.x = scale(xLow, xHigh, left, width - right, xLog);
    this.y = scale(yLow, yHigh, height - bottom, top, yLog);
    for (const value of yTicks) {
      const y = this.y(value);
      this.svg.append(
        make("line", { class: "grid", x1: left, x2: width - right, y1: y, y2: y }),
        make("text", { x: left - 7, y: y + 4, "text-anchor": "end" }, readable(value, true)),
      );
    }
    for (const value of ticks(xLow, xHigh, Math.max(2, Math.floor(width / 85)), xLog)) {
      const x = this.x(value);
      this.svg.append(
        make("text", { x: Math.min(x, width - right - 4), y: height - bottom + 17, "text-anchor": "middle" }, xFormat(value, true)),
      );
    }
    this.svg.append(
      make("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle", class: "x-name" }, xName),
    );
    this.drawSeries();
    this.overlay = make("g", {});
    this.svg.append(this.overlay);
    this.edges = { left, right: width - right, top, bottom: height - bottom };
  }

  drawSeries() {
    for (const line of this.series) {
      const thin = line.thin || line.points.length > MANY_POINTS;
      const styles = `line c${line.color}${thin ? " thin" : ""}${line.dashed ? " dashed" : ""}`;
      this.svg.append(make("path", { class: styles, "data-series": line.name, d: this.path(line.points) }));
      const dots = line.points.length === 1 || (!line.thin && line.points.length <= 40) ? line.points : [];
      for (const [x, y] of dots) {
        this.svg.append(make("circle", { class: `dot c${line.color}`, cx: this.x(x), cy: this.y(y), r: 2.2 }));
      }
    }
  }

  /** The path through the points; where several fall into one column of pixels, its first, lowest, highest and last. */
  path(points) {
    const columns = new Map();
    for (const [x, y] of points) {
      const column = Math.round(this.x(x) * 2) / 2;
      const at = this.y(y);
      const seen = columns.get(column);
      if (!seen) columns.set(column, [at, at, at, at]);
      else columns.set(column, [seen[0], Math.min(seen[1], at), Math.max(seen[2], at), at]);
    }
    const written = [];
    for (const [column, ys] of columns) {
      ys.forEach((y, i) => {
        if (i === 0 || y !== ys[i - 1]) written.push(`${column},${y.toFixed(1)}`);
      });
    }
    return `M${written.join("L")}`;
  }

  /** What the chart shows, in a sentence. */
  words() {
    const { xName, xFormat } = this.spec;
    const said = this.series.map(({ name, points }) => {
      const [[x0, y0], [x1, y1]] = [points[0], points.at(-1)];
      return `${name} from ${readable(y0)} at ${xFormat(x0)} to ${readable(y1)} at ${xFormat(x1)}`;
    });
    return `Line chart of ${this.title}, ${this.unit}, by ${xName}: ${said.join("; ") || "nothing yet"}`;
  }

  point(event) {
    if (!this.x) return;
    const place = event.clientX - this.svg.getBoundingClientRect().left;
    Chart.cross(this, this.nearestX(this.x.back(place)));
  }

  key(event) {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!direction || !this.x) return;
    event.preventDefault();
    const all = [...new Set(this.series.flatMap(({ points }) => points.map(([x]) => x)))].sort((a, b) => a - b);
    const at = all.indexOf(this.at);
    const stride = event.shiftKey ? Math.ceil(all.length / 20) : 1;
    const next = at < 0 ? (direction > 0 ? 0 : all.length - 1) : at + direction * stride;
    Chart.cross(this, all[Math.min(all.length - 1, Math.max(0, next))]);
  }

  nearestX(x) {
    const candidates = this.series.map(({ points }) => points[nearest(points, x)][0]);
    return candidates.reduce((best, one) => (Math.abs(one - x) < Math.abs(best - x) ? one : best));
  }

  static cross(owner, x) {
    for (const chart of Chart.all) {
      // Charts with another axis have their own places.
      const same = owner && chart.x && chart.spec.xName === owner.spec.xName;
      if (same) chart.mark(x, chart === owner);
      else if (chart.x) chart.unmark();
    }
  }

  unmark() {
    this.at = null;
    this.overlay.replaceChildren();
    this.tip.hidden = true;
  }

  mark(x, isOwner) {
    this.unmark();
    const place = this.x(x);
    const { left, right, top, bottom } = this.edges;
    if (!(place >= left - 1 && place <= right + 1)) return;
    this.at = x;
    this.overlay.append(make("line", { class: "cross", x1: place, x2: place, y1: top, y2: bottom }));
    const rows = [];
    for (const { name, color, points } of this.series) {
      const [px, py] = points[nearest(points, x)];
      if (x < points[0][0] || x > points.at(-1)[0]) continue;
      this.overlay.append(make("circle", { class: `mark c${color}`, cx: this.x(px), cy: this.y(py), r: 4 }));
      const where = px === x ? "" : ` at ${this.spec.xFormat(px)}`;
      rows.push([py, make("div", {}, make("span", { class: `swatch c${color}` }), make("span", { class: "name" }, name), readable(py) + where)]);
    }
    if (!isOwner) return;
    rows.sort((one, other) => other[0] - one[0]);
    this.tip.replaceChildren(make("strong", {}, `${this.spec.xName} ${this.spec.xFormat(x)}`), ...rows.map(([, row]) => row));
    this.showTip(place);
  }

  /** Shows the tip beside a place along the x axis. */
  showTip(place) {
    this.tip.hidden = false;
    const room = this.element.clientWidth;
    const [outer, inner] = [this.element.getBoundingClientRect(), this.svg.getBoundingClientRect()];
    const before = place + inner.left - outer.left;
    const fits = before + 14 + this.tip.offsetWidth < room;
    this.tip.style.left = `${Math.max(4, fits ? before + 14 : before - 14 - this.tip.offsetWidth)}px`;
    this.tip.style.top = `${inner.top - outer.top + 8}px`;
  }
}

/** The lowest and the highest of pairs of them. */
function range(pairs) {
  return [Math.min(...pairs.map(([low]) => low)), Math.max(...pairs.map(([, high]) => high))];
}

/** The lowest and highest value of all series. */
function yRange(series) {
  return range(
    series.map(({ points }) => points.reduce(([low, high], [, y]) => [Math.min(low, y), Math.max(high, y)], [Infinity, -Infinity])),
  );
}

function padded([low, high], log, fromZero) {
  if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
  if (fromZero && low >= 0) return [0, high > 0 ? high * 1.06 : 1];
  const room = high === low ? Math.abs(high) * 0.1 || 1 : (high - low) * 0.05;
  return [low - room, high + room];
}

/** A function from values to pixels; `back` is its inverse. */
function scale(low, high, from, to, log) {
  const [f, inverse] = log ? [Math.log, Math.exp] : [(v) => v, (v) => v];
  const [a, b] = [f(low), f(high)];
  const forward = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  forward.back = (place) => inverse(a + ((place - from) / (to - from)) * (b - a));
  return forward;
}
