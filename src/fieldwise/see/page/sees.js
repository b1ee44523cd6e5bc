// What does this see? An output position of the selected layer, its field in the input, and on every layer between.

import { h, replace, say, terms } from "./dom.js";
import { Picture, regionInWords } from "./draw.js";
import { channelDim, numbersOf } from "./pull.js";
import { project, volume } from "./region.js";
import { minus, range } from "./sets.js";
import { change, state } from "./state.js";
import { axisNames, counted, numberOf, perAxis, percent, runs, times } from "./words.js";

export function seesView(page) {
  const { network } = page;
  const row = page.row();
  const value = row.value;
  const sizes = network.unitSizes(value);
  const margin = network.sizes.map((size, place) => {
    const extent = row.axes[place].extent ?? size;
    return Math.ceil(Math.min(extent / 2, size / 5));
  });
  const input = new Picture({ sizes: network.sizes, label: "The input, with what is seen of it", margin, image: page.image, spot: true, className: "main" });
  const units = new Picture({ sizes, label: `The output positions of ${row.name}`, pick: (unit) => change({ unit }) });
  const numbers = h("section", { class: "card", "aria-label": "Numbers" });
  const between = betweenOf(page, value);
  const fields = sizes.map((size, place) =>
    h("label", {}, axisNames(sizes.length)[place],
      h("input", {
        type: "number", min: 0, max: size - 1, inputmode: "numeric",
        oninput: () => {
          const unit = fields.map((label) => Number(label.querySelector("input").value));
          if (unit.every((index, axis) => Number.isInteger(index) && index >= 0 && index < sizes[axis])) change({ unit });
        },
      })));
  const own = channelDim(network.values[value]);
  const channels = own === null ? 0 : network.values[value].shape[own];
  const one = channels > 1 && h("label", {}, "channel", h("input", {
    type: "number", min: 0, max: channels - 1, placeholder: "all", inputmode: "numeric",
    oninput: (event) => change({ channel: event.target.value === "" ? null : event.target.value }),
  }));
  let answer = null;

  /** The channel that is asked for; null for all of them. */
  function channelOf() {
    const wanted = Number(state.channel ?? NaN);
    return Number.isInteger(wanted) && wanted >= 0 && wanted < channels && channels > 1 ? wanted : null;
  }

  function update() {
    const unit = page.unit(sizes);
    const channel = channelOf();
    if (one && document.activeElement !== one.lastChild) one.lastChild.value = channel ?? "";
    units.position = unit;
    units.show("unit", [unit.map((index) => [index, index + 1])]);
    fields.forEach((label, axis) => {
      const box = label.querySelector("input");
      if (Number(box.value) !== unit[axis] || box.value === "") box.value = unit[axis];
    });
    const seen = network.at(value, unit, channel);
    const unbounded = network.unbounded(value, unit);
    const outside = unbounded === null ? [] : beyond(unbounded.products, network.sizes);
    input.show("outside", outside);
    input.show("seen", seen.products);
    between.update(seen.reached);
    answer = { ...answerOf(page, unit, seen, outside), channel };
    replace(numbers, cardOf(page, unit, seen, unbounded, outside));
    say(`${row.name}, position ${unit.join(", ")}: ${sentence(seen)}`);
  }

  update();
  const element = h("div", { class: "split" },
    h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, `What ${row.name} sees`),
      h("p", { class: "quiet" }, `The input, ${times(network.sizes)}; hatched: in the padding`)), input.element),
    h("div", { class: "side" },
      h("section", { class: "panel" },
        h("h2", {}, sizes.length ? `Output position, of ${times(sizes)}` : "One output position"),
        h("div", { class: "row fields" }, fields, one), units.element,
        h("p", { class: "quiet" }, sizes.length ? "Point, press the arrow keys, or type." : "It has no place of its own.")),
      numbers, between.element));
  return { element, update, picture: () => input.parts[0].svg, answer: () => answer };
}

const sentence = ({ products }) => {
  const { lo, hi, count } = numbersOf(products);
  return lo === null ? "sees nothing of the input" : `sees ${counted(count, "position")}, ${lo.map((low, axis) => `${low} to ${hi[axis]}`).join(" by ")}`;
};

/** The parts of products beyond the input. */
function beyond(products, sizes) {
  const found = [];
  for (const product of products) {
    let rest = product;
    sizes.forEach((size, axis) => {
      const outside = minus(rest[axis], range(0, size));
      if (outside.length) found.push(rest.map((side, place) => (place === axis ? outside : side)));
      rest = rest.map((side, place) => (place === axis ? minus(side, outside) : side));
    });
  }
  return found.filter((product) => product.every((side) => side.length));
}

function answerOf(page, unit, seen, outside) {
  const { lo, hi, count } = numbersOf(seen.products);
  return {
    model: page.network.data.name, layer: page.row().name, unit, lo, hi, count, products: seen.products,
    exact: seen.exact, why: seen.why, in_padding: volume(outside),
  };
}

function cardOf(page, unit, seen, unbounded, outside) {
  const { network } = page;
  const { lo, hi, count } = numbersOf(seen.products);
  const names = axisNames(network.sizes.length);
  const total = network.sizes.reduce((product, size) => product * size, 1);
  const padded = volume(outside);
  return [
    h("h2", {}, unit.length ? `Position ${unit.join(", ")}` : "The output"),
    lo === null ? h("p", {}, "It sees nothing of the input.") : null,
    terms([
      ...(lo === null ? [] : names.map((name, axis) => [`${name}s`, `${numberOf(lo[axis])} – ${numberOf(hi[axis])}`])),
      ["How many", `${count.toLocaleString("en")}, ${percent(count / total)} of the input`],
      ["Extent", lo === null ? null : perAxis(lo.map((low, axis) => hi[axis] - low + 1))],
      ["In the padding", unbounded === null ? "not in this page" : counted(padded, "position")],
      ["Channels of the input", inputChannels(network, seen)],
      ["Made of", seen.products.length ? regionInWords(seen.products) : null],
    ]),
    seen.exact ? h("p", { class: "quiet" }, "Exact.") : h("p", { class: "alert" }, `At most this: ${seen.why}.`),
    seen.products.length > 0 && seen.products.length < 5 && h("details", {}, h("summary", {}, "As sets"),
      seen.products.map((product) => h("p", { class: "mono" }, product.map((side) => `{${runs(side)}}`).join(" × ")))),
  ];
}

/** Which channels of the input are seen; null where it has but one. */
function inputChannels(network, { reached }) {
  const dim = channelDim(network.values[0]);
  if (dim === null || network.values[0].shape[dim] < 2 || !reached[0]) return null;
  const [[set] = [[]]] = project(reached[0].region, [dim]);
  return runs(set);
}

/** A slider through the values between the input and the layer, with what is seen of each. */
function betweenOf(page, value) {
  const { network } = page;
  const chain = page.ancestors(value);
  const place = h("div", {});
  const caption = h("p", { class: "quiet" });
  const slider = h("input", {
    type: "range", min: 0, max: chain.length - 1, "aria-label": "A layer between",
    oninput: () => change({ between: network.values[chain[chain.length - 1 - Number(slider.value)]].name }),
  });
  let shown = null;
  let picture = null;
  const element = h("section", { class: "panel", "aria-label": "A layer between" }, h("h2", {}, "On a layer between"), slider, caption, place);
  function update(reached) {
    const wanted = chain.findIndex((number) => network.values[number].name === state.between);
    const at = wanted < 0 ? Math.floor(chain.length / 2) : wanted;
    slider.value = chain.length - 1 - at;
    const number = chain[at];
    const sizes = network.unitSizes(number);
    slider.setAttribute("aria-valuetext", network.values[number].name);
    if (shown !== number) {
      picture = new Picture({ sizes, label: `What is seen of ${network.values[number].name}` });
      replace(place, picture.element);
      shown = number;
    }
    const units = network.units(reached, number);
    picture.show("seen", units);
    const total = sizes.reduce((product, size) => product * size, 1);
    caption.textContent = `${network.values[number].name}: ${volume(units).toLocaleString("en")} of ${total.toLocaleString("en")} positions`;
  }
  if (chain.length < 2) element.hidden = true;
  return { element, update };
}
