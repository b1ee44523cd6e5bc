// Who sees this? A position of the input, and what depends on it on every layer.

import { h, replace, say } from "./dom.js";
import { Picture } from "./draw.js";
import { hull, volume } from "./region.js";
import { change } from "./state.js";
import { bytes, counted, percent, runs, times } from "./words.js";

export function whoView(page) {
  const { network } = page;
  const row = page.row();
  const sizes = network.unitSizes(row.value);
  const input = new Picture({
    sizes: network.sizes, label: "The input; the position that is looked at", image: page.image, hover: false, className: "main",
    pick: (pixel) => change({ pixel }),
  });
  const units = new Picture({ sizes, label: `The output positions of ${row.name} that see it` });
  const words = h("p", { class: "quiet" });
  const totals = h("section", { class: "card", "aria-label": "What would have to be computed again" });
  const body = h("tbody");
  let answer = null;

  function update() {
    const pixel = page.pixel();
    input.position = pixel;
    input.show("cross", crossOf(pixel, network.sizes));
    input.show("unit", [pixel.map((index) => [index, index + 1])]);
    const reached = network.who(pixel);
    const seeing = network.units(reached, row.value);
    units.show("seen", seeing);
    const all = sizes.reduce((product, size) => product * size, 1);
    const sides = hull(seeing);
    words.textContent = `${counted(volume(seeing), "position")} of ${all.toLocaleString("en")}` +
      (sides ? `: ${sides.map(runs).join(" × ")}` : "");
    const found = network.rows.map((one) => seenBy(network, one, reached));
    replace(body, found.filter((one) => one.count).map((one) => entryOf(page, one)));
    replace(totals, totalOf(found, pixel));
    answer = { model: network.data.name, position: pixel, layers: found.map(({ row: { name }, count, of, products }) => ({ name, count, of, products })) };
    say(`Position ${pixel.join(", ")}: ${found.filter((one) => one.count).length} layers depend on it`);
  }

  update();
  const element = h("div", { class: "split" },
    h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, "A position of the input"),
      h("p", { class: "quiet" }, "Click, or press the arrow keys, Shift for steps of eight.")), input.element),
    h("div", { class: "side" },
      h("section", { class: "panel" }, h("h2", {}, `On ${row.name}, of ${times(sizes) || "one position"}`), units.element, words),
      totals,
      h("section", { class: "panel" }, h("h2", {}, "On every layer"),
        h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "What depends on it, on every layer" },
          h("table", { class: "list narrow" }, h("thead", {}, h("tr", {}, ["Layer", "Positions", "Share"].map((name) => h("th", { scope: "col" }, name)))), body)))));
  return { element, update, picture: () => input.parts[0].svg, answer: () => answer };
}

/** The row and the column of a position, where it is too small to be found. */
function crossOf(pixel, sizes) {
  if (Math.max(...sizes) < 64 || sizes.length < 2) return [];
  return [sizes.length - 2, sizes.length - 1].map((axis) =>
    sizes.map((size, place) => (place === axis ? [pixel[axis], pixel[axis] + 1] : [0, size])));
}

function seenBy(network, row, reached) {
  const products = network.units(reached, row.value);
  const of = network.unitSizes(row.value).reduce((product, size) => product * size, 1);
  const count = volume(products);
  return { row, products, count, of, bytes: of ? (network.values[row.value].bytes * count) / of : 0, all: network.values[row.value].bytes };
}

function entryOf(page, { row, count, of }) {
  const bar = h("span", { class: "bar" });
  bar.style.setProperty("--part", count / of);
  return h("tr", { class: row.name === page.row().name ? "chosen" : null },
    h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => change({ layer: row.name, unit: null }) }, row.name)),
    h("td", {}, `${count.toLocaleString("en")} of ${of.toLocaleString("en")}`), h("td", {}, bar, percent(count / of)));
}

function totalOf(found, pixel) {
  const again = found.reduce((sum, one) => sum + one.bytes, 0);
  const all = found.reduce((sum, one) => sum + one.all, 0);
  return [
    h("h2", {}, `If ${pixel.join(", ")} changed`),
    h("p", {}, `${bytes(again)} of ${bytes(all)} of all values would have to be computed again, ${percent(again / all)}, on ${counted(found.filter((one) => one.count).length, "layer")}.`),
    h("p", { class: "quiet" }, "All channels of a position count; every value is computed once."),
  ];
}

