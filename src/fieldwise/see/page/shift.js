// Shift: what is proven of the outputs, and the layers at which equivariance ends, with the repair.

import { h } from "./dom.js";
import { change } from "./state.js";
import { axisNames, numberOf } from "./words.js";

export function shiftView(page) {
  const { network } = page;
  const { shift } = network.data;
  const names = axisNames(network.sizes.length);
  const nameOf = (axis) => names[network.axes.indexOf(axis)] ?? `axis ${axis}`;
  const element = h("div", { class: "stack" },
    h("section", { class: "panel" }, h("h2", {}, "What a shift of the input does to the outputs"),
      h("div", { class: "scroll" }, h("table", { class: "list words" },
        h("thead", {}, h("tr", {}, ["Output", "Axis", "With periodic borders", "Away from the borders"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, shift.outputs.flatMap((output) => output.axes.map((axis) => h("tr", {},
          h("th", { scope: "row" }, output.name), h("td", {}, nameOf(axis.axis)), h("td", {}, verdictOf(axis)), h("td", {}, interiorOf(axis)))))))),
    h("p", { class: "quiet" }, "Proven from the graph alone, for all weights. Shifts are by whole positions of the input.")),
    h("section", { class: "panel" },
      h("h2", {}, shift.breakers.length ? "Where the proof ends" : "Nothing breaks it"),
      shift.breakers.length > 0 && h("ol", { class: "breakers" }, shift.breakers.map((one) => h("li", {},
        h("p", {}, h("button", { type: "button", class: "link strong", onclick: () => choose(network, one) }, one.module || one.node),
          h("span", { class: one.known ? "pin bad" : "pin" }, one.known ? "breaks it" : "not known"),
          h("span", { class: "quiet" }, one.axes.map(nameOf).join(", "))),
        h("p", {}, sentence(one.why)),
        one.remedy && h("p", { class: "repair" }, `Repair: ${sentence(one.remedy)}`))))));
  return { element, update() {}, picture: () => null, answer: () => shift };
}

const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

function choose(network, one) {
  const row = network.rows.find((found) => found.value === one.value);
  if (row) change({ view: "layers", layer: row.name }, { kept: true });
}

function verdictOf({ circular }) {
  if (circular.holds) return h("span", { class: "pin good" }, circular.step === 0 ? "does not change" : `equivariant, every ${circular.period}${circular.step === null ? "" : ` by ${numberOf(circular.step)}`}`);
  return h("span", { class: circular.undecided ? "pin" : "pin bad" }, circular.undecided ? "undecided" : "broken");
}

function interiorOf({ interior }) {
  if (interior.range === null) return "no position is out of reach";
  const [start, stop] = interior.range;
  return `positions ${start} to ${stop - 1}, every ${numberOf(interior.period)}`;
}
