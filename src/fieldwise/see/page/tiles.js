// Tiles: a tile over the input with what it has to read, the grid, its cost, and what usual guesses get wrong.

import { h, perFrame, replace, say, terms } from "./dom.js";
import { Picture } from "./draw.js";
import { Cutting, notTiled } from "./geometry.js";
import { change } from "./state.js";
import { axisNames, bytes, perAxis, percent, times } from "./words.js";

export function tilesView(page) {
  const { network } = page;
  const row = page.row();
  const why = notTiled(network, row);
  if (why) return { element: h("section", { class: "panel narrow" }, h("h2", {}, "No tiles"), h("p", {}, why)), update() {}, picture: () => null };
  const cutting = new Cutting(network, row);
  const { sizes } = network;
  const input = new Picture({ sizes, label: "The input with a tile", image: page.image, className: "main" });
  const numbers = h("section", { class: "card", "aria-label": "Numbers" });
  const guesses = h("section", { class: "panel", "aria-label": "Usual guesses" });
  const names = axisNames(sizes.length);
  const boxes = [0, 1].map((kind) => sizes.map((size, axis) =>
    h("label", {}, kind ? `${names[axis]}s` : `from ${names[axis]}`, h("input", {
      type: "number", min: kind, max: size, step: cutting.grid[axis],
      oninput: (event) => {
        const tile = tileOf();
        tile[kind][axis] = Number(event.target.value);
        if (Number.isInteger(tile[kind][axis])) put(tile);
      },
    }))));
  let answer = null;

  /** [starts, lengths], within the input. */
  function tileOf() {
    const flat = page.state.tile ?? [];
    if (flat.length !== 2 * sizes.length) return usual();
    return [flat.slice(0, sizes.length), flat.slice(sizes.length)];
  }

  function usual() {
    const lengths = sizes.map((size, axis) => Math.min(size, Math.max(1, Math.round(size / 3 / cutting.grid[axis])) * cutting.grid[axis]));
    return [sizes.map((size, axis) => Math.min(Math.floor((size - lengths[axis]) / 2 / cutting.grid[axis]) * cutting.grid[axis], size)), lengths];
  }

  function put([starts, lengths]) {
    const long = lengths.map((length, axis) => Math.min(Math.max(length, 1), sizes[axis]));
    const from = starts.map((start, axis) => Math.min(Math.max(start, 0), sizes[axis] - long[axis]));
    change({ tile: [...from, ...long] });
  }

  function snapped([starts, lengths]) {
    const { grid } = cutting;
    const long = lengths.map((length, axis) => Math.max(1, Math.round(length / grid[axis])) * grid[axis]);
    return [starts.map((start, axis) => Math.round(start / grid[axis]) * grid[axis]), long];
  }

  function update() {
    const tile = tileOf();
    const [starts, lengths] = tile;
    const ends = starts.map((start, axis) => start + lengths[axis]);
    const off = sizes.some((size, axis) => starts[axis] % cutting.grid[axis] || (lengths[axis] % cutting.grid[axis] && ends[axis] < size));
    const owned = sizes.map((_, axis) => cutting.owned(axis, starts[axis], ends[axis]));
    const crops = owned.map(([start, stop], axis) => cutting.crop(axis, start, stop));
    const alone = [starts.map((start, axis) => [start, ends[axis]])];
    input.show("crop", [crops]);
    input.show("tile", off ? [] : alone);
    input.show("off", off ? alone : []);
    boxes[0].forEach((label, axis) => keep(label, starts[axis]));
    boxes[1].forEach((label, axis) => keep(label, lengths[axis]));
    const costs = lengths.map((length, axis) => cutting.cost(axis, length));
    const read = costs.reduce((product, cost, axis) => (product * cost.read) / sizes[axis], 1);
    const found = {
      off, starts, lengths, crops, owned, grid: cutting.grid, read, tiles: costs.map((cost) => cost.count),
      before: starts.map((start, axis) => start - crops[axis][0]), behind: crops.map(([, stop], axis) => stop - ends[axis]),
      bytes: cutting.peak(owned), whole: cutting.peak(cutting.lengths.map((length) => [0, length])),
    };
    answer = { model: network.data.name, layer: row.name, ...found };
    replace(numbers, cardOf(found, () => put(snapped(tile))));
    replace(guesses, guessesOf(cutting, found, sizes));
    say(`Tile ${times(lengths)} at ${starts.join(", ")}${off ? ", off the grid" : ""}; the image is read ${read.toFixed(2)} times`);
  }

  dragging(input, sizes, tileOf, put, (tile, event) => (event.altKey ? tile : snapped(tile)), cutting.grid);
  update();
  const element = h("div", { class: "split" },
    h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, `A tile of the input for ${row.name}`),
      h("p", { class: "quiet" }, "Drag it, or its corner; arrow keys move it by the grid, with Shift they resize it, Alt leaves the grid. Dashed: what has to be read.")),
      input.element),
    h("div", { class: "side" },
      h("section", { class: "panel" }, h("h2", {}, "The tile"), h("div", { class: "row fields" }, boxes)), numbers, guesses));
  return { element, update, picture: () => input.parts[0].svg, answer: () => answer };
}

function keep(label, number) {
  const box = label.querySelector("input");
  if (Number(box.value) !== number || box.value === "") box.value = number;
}

function cardOf(found, snap) {
  return [
    h("h2", {}, found.off ? "Off the grid" : "On the grid"),
    found.off && h("p", { class: "alert" }, `Crops must start at multiples of ${perAxis(found.grid)} and tiles be as long; a crop that does not meets the strides elsewhere, and all of its outputs may differ.`),
    found.off && h("p", {}, h("button", { type: "button", onclick: snap }, "Put it on the grid")),
    terms([
      ["Grid", perAxis(found.grid)],
      ["Halo before", perAxis(found.before)],
      ["Halo after", perAxis(found.behind)],
      ["It reads", times(found.crops.map(([start, stop]) => stop - start))],
      ["Tiles of this size", `${times(found.tiles)} = ${found.tiles.reduce((a, b) => a * b, 1).toLocaleString("en")}`],
      ["The image is read", `${found.read.toFixed(2)} times`],
      ["Held at once", `${bytes(found.bytes)}, ${percent(found.bytes / found.whole)} of the whole`],
    ]),
    h("p", { class: "quiet" }, "Held at once: what the tile needs of each value, from its making to its last reader, every value a copy; without weights. plan_tiles proves each crop layer by layer, and widens one where it has to, as where a mask hides taps of a kernel."),
  ];
}

/** Halos that are often used, as intervals of the input, and how many outputs of the tile they get wrong. */
function guessesOf(cutting, { starts, lengths, owned, crops, grid }, sizes) {
  const guessed = [
    ["No overlap", () => 0],
    ["A quarter of the tile overlaps", (axis) => Math.floor(lengths[axis] / 8)],
    ["Half of the receptive field", (axis) => Math.floor((cutting.extents[axis] - 1) / 2)],
  ];
  const outputs = owned.reduce((product, [start, stop]) => product * (stop - start), 1);
  const entries = guessed.map(([name, halo]) => {
    const crop = sizes.map((size, axis) => [Math.max(starts[axis] - halo(axis), 0), Math.min(starts[axis] + lengths[axis] + halo(axis), size)]);
    const aligned = crop.every(([start], axis) => start % grid[axis] === 0);
    const right = owned.reduce((product, [start, stop], axis) => product * (stop - start - cutting.wrong(axis, [start, stop], crop[axis])), 1);
    return { name, crop, aligned, wrong: outputs - right };
  });
  return [
    h("h2", {}, "Usual guesses for this tile"),
    h("div", { class: "scroll" }, h("table", { class: "list narrow" },
      h("thead", {}, h("tr", {}, ["Overlap", "Reads", "Wrong, at least"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {},
        h("tr", {}, h("th", { scope: "row" }, "What is needed"), h("td", {}, times(crops.map(([a, b]) => b - a))), h("td", {}, h("span", { class: "pin good" }, "none"))),
        entries.map(({ name, crop, aligned, wrong }) => h("tr", {},
          h("th", { scope: "row" }, name),
          h("td", {}, times(crop.map(([a, b]) => b - a))),
          h("td", {}, aligned ? (wrong ? h("span", { class: "pin bad" }, `${wrong.toLocaleString("en")} of ${outputs.toLocaleString("en")}`) : h("span", { class: "pin good" }, "none"))
            : h("span", { class: "pin bad" }, "off the grid: all"))))))),
  ];
}

/** Drags the tile, or resizes it by its corner; arrow keys do the same. */
function dragging(picture, sizes, tileOf, put, fitted, grid) {
  const [{ svg, rows, columns }] = picture.parts;
  const axes = [rows, columns];
  svg.setAttribute("tabindex", "0");
  svg.setAttribute("role", "application");
  svg.setAttribute("aria-roledescription", "tile");
  svg.setAttribute("aria-label", "The tile. Arrow keys move it by the grid, with Shift they resize it, with Alt by one.");
  svg.classList.add("live");
  const pointOf = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [point.y, point.x];
  };
  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    const point = pointOf(event);
    const [starts, lengths] = tileOf();
    const near = axes.every((axis, place) => axis === null || Math.abs(point[place] - starts[axis] - lengths[axis]) < Math.max(sizes[axis] / 25, 1));
    held = { point, starts, lengths, resized: near };
    svg.setPointerCapture(event.pointerId);
  });
  const move = perFrame((event) => {
    if (!held) return;
    const point = pointOf(event);
    const by = (axis, place) => Math.round(point[place] - held.point[place]);
    const [starts, lengths] = [[...held.starts], [...held.lengths]];
    axes.forEach((axis, place) => {
      if (axis === null) return;
      if (held.resized) lengths[axis] += by(axis, place);
      else starts[axis] += by(axis, place);
    });
    put(fitted([starts, lengths], event));
  });
  svg.addEventListener("pointermove", (event) => held && move(event));
  svg.addEventListener("pointerup", () => (held = null));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by) return;
    event.preventDefault();
    const [starts, lengths] = tileOf().map((numbers) => [...numbers]);
    axes.forEach((axis, place) => {
      if (axis === null) return;
      const step = (event.altKey ? 1 : grid[axis]) * (rows === null ? by[0] + by[1] : by[place]);
      if (event.shiftKey) lengths[axis] += step;
      else starts[axis] += step;
    });
    put([starts, lengths]);
  });
}

