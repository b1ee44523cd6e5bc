// Compare: two networks side by side, layers aligned, what differs in colour.

import { h, replace } from "./dom.js";
import { gridOf } from "./geometry.js";
import { change } from "./state.js";
import { bytes, extentOf, numberOf, perAxis, times, valueOf } from "./words.js";

/** What a tile of a row's outputs sees before and behind its own stretch of the input, along each axis. */
const haloOf = (row) => perAxis(row.axes.map(({ start, extent, stride }) =>
  start === undefined || extent === undefined || stride === undefined ? "–" : `${Math.max(0, -start)} + ${Math.max(0, Math.ceil(start + extent - valueOf(stride)))}`));

const WAYS = [
  ["Extent", (network, row) => perAxis(row.axes.map(extentOf))],
  ["Stride", (network, row) => perAxis(row.axes.map((axis) => numberOf(axis.stride)))],
  ["Halo", (network, row) => haloOf(row)],
  ["Grid", (network, row) => perAxis(gridOf(network, row.value)), "middle"],
  ["Look-ahead", (network, row) => perAxis(row.axes.map((axis) => numberOf(axis.ahead)))],
  ["Shape", (network, row) => times(network.values[row.value].shape), "wide"],
  ["Memory", (network, row) => bytes(network.values[row.value].bytes), "middle"],
];

export function compareView(page) {
  const { networks, data } = page;
  const [one, two] = networks;
  const entries = data.pairs.map(([a, b]) => entryOf(one, two, a, b));
  const different = entries.filter((entry) => entry.changed);
  const only = h("input", { type: "checkbox", checked: page.state.all !== "1", onchange: () => change({ all: only.checked ? null : "1" }) });
  const body = h("tbody");
  const count = h("p", { class: "quiet", role: "status" });

  function update() {
    const shown = only.checked ? different : entries;
    replace(count, `${different.length} of ${entries.length} layers differ`);
    replace(body, shown.map((entry) => entry.element));
  }

  update();
  const element = h("section", { class: "panel" },
    h("div", { class: "row" }, h("h2", {}, `${one.data.name} and ${two.data.name}`), count,
      h("label", { class: "push check" }, only, "only what differs")),
    h("div", { class: "scroll" }, h("table", { class: "list compare" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Layer"), WAYS.map(([name, , when]) => h("th", { scope: "col", class: when ?? null }, name)))), body)),
    entries.length > 0 && different.length === 0 && h("p", {}, "Nothing differs."));
  return { element, update, picture: () => null, answer: () => entries.map(({ names, said }) => ({ names, said })) };
}

function entryOf(one, two, a, b) {
  const rows = [a === null ? null : one.rows[a], b === null ? null : two.rows[b]];
  const names = rows.map((row) => row?.name ?? null);
  const said = WAYS.map(([, way]) => [rows[0] && way(one, rows[0]), rows[1] && way(two, rows[1])]);
  const alone = rows.includes(null);
  const changed = alone || said.some(([left, right]) => left !== right);
  const label = names[0] === names[1] || alone ? names[0] ?? names[1] : `${names[0]} / ${names[1]}`;
  const element = h("tr", {},
    h("th", { scope: "row" }, label, alone && h("span", { class: "pin bad" }, rows[0] ? "only in the first" : "only in the second")),
    said.map(([left, right], place) => h("td", { class: `${WAYS[place][2] ?? ""}${left === right ? "" : " differs"}` },
      alone ? left ?? right : left === right ? left : [h("span", { class: "old" }, left), " → ", right])));
  return { names, said, changed, element };
}
