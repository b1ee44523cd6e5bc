// Pictures of index spaces: the input, or the output positions of a value, with regions on them.

import { h, perFrame, s } from "./dom.js";
import { counted } from "./words.js";
import { extent, first } from "./sets.js";

const LONGEST = 20000; // rectangles: a region of more is drawn by its runs along the first axis alone

/** The rectangles of products along the last two of their dimensions, as the data of a path. */
export function pathOf(products, [rows, columns]) {
  let data = "";
  let drawn = 0;
  for (const product of products) {
    const [ys, xs] = [rows === null ? [0, 1] : product[rows], product[columns]];
    const coarse = (drawn += (ys.length * xs.length) / 4) > LONGEST;
    const across = coarse ? [first(xs), first(xs) + extent(xs)] : xs;
    for (let i = 0; i < ys.length; i += 2)
      for (let j = 0; j < across.length; j += 2)
        data += `M${across[j]} ${ys[i]}h${across[j + 1] - across[j]}v${ys[i + 1] - ys[i]}h${across[j] - across[j + 1]}z`;
  }
  return data;
}

/**
 * A picture of a space of some sizes: a plane of its last two axes, and a strip for each before them.
 *
 * label: for those who listen; margin: per axis, what is shown around it; image: {src} behind it, which
 * is dim but for what is shown as "seen" where it is a spot;
 * pick: called with a position that is pointed at or reached by arrow keys; drawn layers by name.
 */
export class Picture {
  constructor({ sizes, label, margin = null, image = null, spot = false, pick = null, hover = true, className = "" }) {
    this.spot = spot;
    this.sizes = sizes;
    this.pick = pick;
    this.position = sizes.map((size) => Math.floor(size / 2));
    this.parts = axesOf(sizes.length).map((axes) => this.part(axes, label, margin, image, hover));
    this.element = h("div", { class: `picture ${className}` }, this.parts.map((part) => part.svg));
  }

  part([rows, columns], label, margin, image, hover) {
    const width = columns === null ? 1 : this.sizes[columns];
    const height = rows === null ? stripOf(width) : this.sizes[rows];
    const [before, beside] = [rows === null || !margin ? 0 : margin[rows], columns === null || !margin ? 0 : margin[columns]];
    const box = [-beside, -before, width + 2 * beside, height + 2 * before];
    const svg = s("svg", { viewBox: box.join(" "), preserveAspectRatio: "xMidYMid meet", role: "img", "aria-label": label });
    svg.style.setProperty("--ratio", box[2] / box[3]);
    const hatch = `hatch-${(hatches += 1)}`;
    svg.append(hatchOf(hatch, Math.max(box[2], box[3]) / 60));
    svg.append(s("rect", { class: "paper", x: box[0], y: box[1], width: box[2], height: box[3] }));
    svg.append(s("rect", { class: "ground", x: 0, y: 0, width, height }));
    const spot = this.spot && image && rows !== null ? s("path", {}) : null;
    if (image && rows !== null) {
      const photo = { href: image.src, x: 0, y: 0, width, height, preserveAspectRatio: "none" };
      svg.append(s("image", { ...photo, opacity: spot ? 0.4 : null }));
      if (spot) {
        svg.classList.add("spot");
        svg.append(s("defs", {}, s("clipPath", { id: `${hatch}-spot` }, spot)), s("image", { ...photo, "clip-path": `url(#${hatch}-spot)` }));
      }
    } else svg.append(gridOf(width, height, rows !== null));
    const layers = s("g", {});
    svg.append(layers, s("rect", { class: "frame", x: 0, y: 0, width, height, fill: "none", "vector-effect": "non-scaling-stroke" }));
    const part = { svg, layers, rows, columns, height, width, hatch, spot, byName: new Map() };
    if (this.pick) this.listen(part, label, hover);
    return part;
  }

  /** Draws products under a name, in place of what was drawn under it. */
  show(name, products, { class: className = name } = {}) {
    for (const part of this.parts) {
      let path = part.byName.get(name);
      if (!path) {
        path = s("path", { class: className, "vector-effect": "non-scaling-stroke", fill: name === "outside" ? `url(#${part.hatch})` : null });
        part.byName.set(name, path);
        part.layers.append(path);
      }
      let data = products.length && part.columns !== null ? pathOf(products, [part.rows, part.columns]) : "";
      if (part.rows === null && data) data = data.replaceAll("v1h", `v${part.height}h`);
      if (part.columns === null && products.length) data = `M0 0h1v${part.height}h-1z`;
      path.setAttribute("d", data);
      if (name === "seen" && part.spot) part.spot.setAttribute("d", data);
    }
  }

  listen(part, label, hover) {
    const { svg } = part;
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "grid of positions");
    svg.setAttribute("aria-label", `${label}. Arrow keys move.`);
    svg.classList.add("live");
    const at = perFrame((x, y) => {
      const point = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM().inverse());
      const position = [...this.position];
      if (part.rows !== null) position[part.rows] = clamped(Math.floor(point.y), part.height);
      if (part.columns !== null) position[part.columns] = clamped(Math.floor(point.x), part.width);
      this.go(position);
    });
    let pressed = false;
    svg.addEventListener("pointerdown", (event) => {
      pressed = true;
      at(event.clientX, event.clientY);
    });
    addEventListener("pointerup", () => (pressed = false));
    svg.addEventListener("pointermove", (event) => {
      if (pressed || (hover && event.pointerType === "mouse")) at(event.clientX, event.clientY);
    });
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      const end = { Home: 0, End: 1 }[event.key];
      if (!move && end === undefined) return;
      event.preventDefault();
      const step = event.shiftKey ? 8 : 1;
      const position = [...this.position];
      const along = (axis, by, size) => {
        if (axis === null) return;
        position[axis] = end === undefined ? clamped(position[axis] + by * step, size) : end * (size - 1);
      };
      along(part.rows, move ? move[0] : 0, part.height);
      along(part.columns, move ? (part.rows === null ? move[0] + move[1] : move[1]) : 0, part.width);
      this.go(position);
    });
  }

  go(position) {
    if (position.every((index, axis) => index === this.position[axis])) return;
    this.position = position;
    this.pick(position);
  }
}

const clamped = (index, size) => Math.min(Math.max(index, 0), size - 1);

/** Pairs (rows, columns) of the axes that are drawn together: the last two, and each before them alone. */
function axesOf(rank) {
  if (rank === 0) return [[null, null]];
  if (rank === 1) return [[null, 0]];
  return [[rank - 2, rank - 1], ...Array.from({ length: rank - 2 }, (_, axis) => [null, axis])];
}

const stripOf = (width) => Math.max(1, width / 12);

let hatches = 0;

/** Slanted lines, for what lies in the padding. */
function hatchOf(id, step) {
  return s("defs", {}, s("pattern", { id, width: step, height: step, patternUnits: "userSpaceOnUse" },
    s("path", { class: "hatch", "stroke-width": step / 7, d: `M0 ${step}L${step} 0` })));
}

/** Lines between positions where there are few of them, else at a round distance. */
function gridOf(width, height, plane) {
  let step = 1;
  while (Math.max(width, height) / step > 48) step *= 2;
  let data = "";
  for (let x = step; x < width; x += step) data += `M${x} 0V${height}`;
  if (plane) for (let y = step; y < height; y += step) data += `M0 ${y}H${width}`;
  return s("path", { class: "lines", d: data, fill: "none", "vector-effect": "non-scaling-stroke" });
}

/** What a caption says of a region: how many positions, and along which axes it has holes. */
export function regionInWords(products, of) {
  const holes = products.some((product) => product.some((side) => side.length > 2));
  const parts = products.length > 1 ? `${counted(products.length, "rectangle")}, ` : "";
  return `${parts}${holes ? "with holes" : "without holes"}${of ? ` of ${of}` : ""}`;
}

