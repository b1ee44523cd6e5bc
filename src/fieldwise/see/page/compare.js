// Compare: two networks side by side, layers aligned, what differs in colour.

import { h, replace } from "./dom.js";
import { gridOf } from "./geometry.js";
import { latencyOf, Rows } from "./schedule.js";
import { change } from "./state.js";
import { bytes, extentOf, numberOf, perAxis, times, valueOf } from "./words.js";

/** What a tile of a row's outputs sees before and behind its own stretch of the input, along each axis. */
const haloOf = (row) => perAxis(row.axes.map(({ start, extent, stride }) =>
  start === undefined || extent === undefined || stride === undefined ? "–" : `${Math.max(0, -start)} + ${Math.max(0, Math.ceil(start + extent - valueOf(stride)))}`));

const WAYS = [
  ["Extent", (network, row) => perAxis(row.axes.map(extentOf))],
  ["Stride", (network, row) => perAxis(row.axes.map((axis) => numberOf(axis.stride)))],
  ["Halo of a tile", (network, row) => haloOf(row)],
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
  const element = h("div", { class: "side" }, deepestOf(networks), h("section", { class: "panel" },
    h("div", { class: "row" }, h("h2", {}, `${one.data.name} and ${two.data.name}`), count,
      h("label", { class: "push check" }, only, "only what differs")),
    h("div", { class: "scroll" }, h("table", { class: "list compare" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Layer"), WAYS.map(([name, , when]) => h("th", { scope: "col", class: when ?? null }, name)))), body)),
    entries.length > 0 && different.length === 0 && h("p", {}, "Nothing differs.")));
  return { element, update, picture: () => null, answer: () => entries.map(({ names, said }) => ({ names, said })) };
}

const LONGEST = 20000; // samples: of longer inputs no latency is counted

/** Each network's deepest layer that does not see all of the input, and the memory of all values. */
function deepestOf(networks) {
  const found = networks.map((network) => {
    const row = network.rows.findLast(({ axes }) => !axes.some((axis) => axis.full)) ?? network.rows.at(-1);
    const stride = valueOf(row.axes[0]?.stride);
    const counted = stride !== null && network.values[row.value].along[0] !== null && network.sizes[0] <= LONGEST;
    return [
      network.data.name, row.name, perAxis(row.axes.map(extentOf)), perAxis(row.axes.map((axis) => numberOf(axis.stride))), haloOf(row),
      perAxis(gridOf(network, row.value)), counted ? String(latencyOf(new Rows(network, row.value, 0), stride)) : "–",
      bytes(network.values.reduce((sum, value) => sum + value.bytes, 0)),
    ];
  });
  const cells = (said, number) => said.slice(1).map((text, place) =>
    h("td", { class: number && place && text !== found[0][place + 1] ? "differs" : null }, text));
  return h("section", { class: "panel" }, h("h2", {}, "The deepest layers that do not see all of the input"),
    h("div", { class: "scroll" }, h("table", { class: "list" },
      h("thead", {}, h("tr", {}, ["Network", "Layer", "Extent", "Stride", "Halo of a tile", "Grid", "Latency at this size", "Memory of all values"]
        .map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, found.map((said, number) => h("tr", {}, h("th", { scope: "row" }, said[0]), cells(said, number)))))));
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
