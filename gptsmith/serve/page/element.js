/** Elements and icons, made of nodes only: no text ever becomes markup. */

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  alert: "M12 8v5M12 16.5v.01M12 3 2.5 20h19z",
  bad: "M7 4v9M7 13l4 7c1.5 0 2.5-1 2.5-2.5V14h5a1.8 1.8 0 0 0 1.8-2.1l-1-6A2 2 0 0 0 17.3 4H7zM3.5 4v9",
  close: "M6 6l12 12M18 6 6 18",
  columns: "M4 5h7v14H4zM13 5h7v14h-7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  down: "M12 5v14M6 13l6 6 6-6",
  edit: "m4 20 1-4L16.5 4.5l3 3L8 19zM14 7l3 3",
  export: "M12 15V4M8 8l4-4 4 4M5 14v6h14v-6",
  good: "M7 20v-9M7 11l4-7c1.5 0 2.5 1 2.5 2.5V10h5a1.8 1.8 0 0 1 1.8 2.1l-1 6A2 2 0 0 1 17.3 20H7zM3.5 20v-9",
  go: "M5 12h13M12 6l6 6-6 6",
  import: "M12 4v11M8 11l4 4 4-4M5 14v6h14v-6",
  left: "m14.5 6-6 6 6 6",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9M20 4v5h-5",
  plus: "M12 5v14M5 12h14",
  right: "m9.5 6 6 6-6 6",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.5 15.5 20 20",
  send: "M12 19V5M6 11l6-6 6 6",
  shades: "M4 6h7M15 6h5M4 12h3M11 12h9M4 18h9M17 18h3",
  sliders: "M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4M4 12h12M20 12h0M18 10v4",
  stop: "M7 7h10v10H7z",
  why: "M9 9a3 3 0 1 1 4.2 2.8c-.9.4-1.2 1-1.2 2.2M12 17.5v.01M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
};

/** An element with attributes. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * An element, such as el("button.send", { type: "button", onclick }, "Send"). Properties that the element has are set,
 * others become attributes; null and false leave them out.
 */
export function el(name, properties = {}, ...content) {
  const [tag, ...classes] = name.split(".");
  const made = make(tag, {}, ...present(content));
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "data") Object.assign(made.dataset, value);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.startsWith("aria")) made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  return made;
}

/** A drawing beside or instead of words; those who do not see it are told by the words. */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  const attributes = { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true", class: "icon" };
  for (const [key, value] of Object.entries(attributes)) drawing.setAttribute(key, value);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  drawing.append(path);
  return drawing;
}

/** A button that is an icon; `label` is what it does. */
export function iconButton(name, label, onclick, properties = {}) {
  return el("button.icon-button", { type: "button", title: label, "aria-label": label, onclick, ...properties }, icon(name));
}

/** Shows in `target` just these nodes. */
export function fill(target, ...content) {
  target.replaceChildren(...present(content));
}

/** Shows a text where it is another than before: nothing is selected, announced or laid out anew for the same. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

const present = (content) => content.flat(Infinity).filter((part) => part !== null && part !== undefined && part !== false);

/** Seconds for people: 0.12 s, 3.4 s, 2 min. */
export function readableSeconds(seconds) {
  if (seconds < 10) return `${seconds.toPrecision(2)} s`;
  return seconds < 120 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** A count for people: 950, 12,300, 1.49M, 124M. */
export function readableCount(count) {
  if (count < 1e6) return count.toLocaleString("en");
  const [size, unit] = count < 1e9 ? [1e6, "M"] : [1e9, "B"];
  return `${Number((count / size).toPrecision(3))}${unit}`;
}

/** A size for people, in powers of 1,000: 950 bytes, 12.3 kB, 1.49 MB. */
export function readableBytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let size = count;
  while (size >= 999.5 && units.length > 1) {
    size /= 1000;
    units.shift();
  }
  return `${Number(size.toPrecision(3))} ${units[0]}`;
}

/** A probability for people: 97 %, 4.1 %, 0.03 %, < 0.01 %. */
export function readablePercent(probability) {
  const percent = probability * 100;
  if (percent >= 99.95 && percent < 100) return "> 99.9 %";
  if (percent >= 10) return `${Math.round(percent)} %`;
  return percent < 0.01 ? "< 0.01 %" : `${Number(percent.toPrecision(2))} %`;
}

/** Hands a text over as a file. */
export function download(name, text, kind) {
  const address = URL.createObjectURL(new Blob([text], { type: kind }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
