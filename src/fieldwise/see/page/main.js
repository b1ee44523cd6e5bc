// The page: its data, the views, the picker of a layer, the tools; everything follows the state.

import { h, replace } from "./dom.js";
import { saveJson, savePng, saveSvg } from "./exports.js";
import { layersView, shareOf } from "./layers.js";
import { compareView } from "./compare.js";
import { Network, numbersOf } from "./pull.js";
import { seesView } from "./sees.js";
import { shiftView } from "./shift.js";
import { change, listen, start, state } from "./state.js";
import { streamsView } from "./streams.js";
import { tilesView } from "./tiles.js";
import { whoView } from "./who.js";
import { times } from "./words.js";

const VIEWS = [
  ["layers", "Layers", layersView, { without: "picker" }],
  ["sees", "What it sees", seesView, {}],
  ["who", "Who sees it", whoView, {}],
  ["tiles", "Tiles", tilesView, {}],
  ["streams", "Streams", streamsView, { remade: ["axis", "band"] }],
  ["shift", "Shift", shiftView, { without: "picker", when: ({ network }) => network.data.shift !== null }],
  ["compare", "Compare", compareView, { without: "picker", when: ({ networks }) => networks.length > 1 }],
];

const data = JSON.parse(document.getElementById("data").textContent);
const networks = data.networks.map((one) => new Network(one));

const kept = new Map();

/** What the views share: the network, the selected row, and what other analyses say of it. */
const page = {
  data,
  networks,
  state,
  image: data.image,
  get network() {
    return networks[Number(state.network) || 0] ?? networks[0];
  },
  rowNumber() {
    const { rows } = this.network;
    const named = rows.findIndex((row) => row.name === state.layer || (row.aliases ?? []).includes(state.layer));
    return named < 0 ? interesting(this.network) : named;
  },
  row() {
    return this.network.rows[this.rowNumber()];
  },
  /** The output position that is looked at; the middle one where the state names none of these sizes. */
  unit(sizes) {
    const unit = state.unit ?? [];
    const fits = unit.length === sizes.length && unit.every((index, axis) => index >= 0 && index < sizes[axis]);
    return fits ? unit : sizes.map((size) => Math.floor(size / 2));
  },
  /** The position of the input that is looked at. */
  pixel() {
    const { sizes } = this.network;
    const pixel = state.pixel ?? [];
    const fits = pixel.length === sizes.length && pixel.every((index, axis) => index >= 0 && index < sizes[axis]);
    return fits ? pixel : sizes.map((size) => Math.floor(size / 2));
  },
  /** What a stream needs to know of rows, made once per layer and axis. */
  rowsOf(value, axis, make) {
    const key = `${state.network ?? 0},${value},${axis}`;
    if (!kept.has(key)) kept.set(key, make());
    return kept.get(key);
  },
  /** The values on which a value depends, and itself, that have a row; in execution order. */
  ancestors(value) {
    const needed = new Set([value]);
    for (let at = value; at >= 0; at--)
      if (needed.has(at)) for (const [operand] of this.network.values[at].reads) needed.add(operand);
    return this.network.rows.map((row) => row.value).filter((number) => needed.has(number));
  },
  /** What breaks shift equivariance at a row. */
  breakers(row) {
    const { shift } = this.network.data;
    return shift === null ? [] : shift.breakers.filter((one) => one.value === row.value);
  },
};

/** The last row whose middle position sees no more than a third of the input, what a module returned before others. */
function interesting(network) {
  const isLocal = (row, number) => {
    const share = shareOf(network, row);
    return number > 0 && share !== null && share <= 1 / 3;
  };
  const returned = network.rows.findLastIndex((row, number) => row.aliases && isLocal(row, number));
  const found = returned < 0 ? network.rows.findLastIndex(isLocal) : returned;
  return found < 0 ? network.rows.length - 1 : found;
}

let current = null;

function show() {
  const [key, , make, { without, remade = [] } = {}] = VIEWS.find(([name, , , { when = () => true }]) => name === state.view && when(page)) ?? VIEWS[0];
  document.documentElement.dataset.view = key;
  replace(document.getElementById("views"), VIEWS.filter(([, , , { when = () => true }]) => when(page)).map(([name, label]) =>
    h("a", { href: `#view=${name}`, "aria-current": name === key ? "page" : null, onclick: (event) => go(event, name) }, label)));
  replace(document.getElementById("picker"), without === "picker" ? modelPicker(key) : pickerOf());
  document.getElementById("subtitle").textContent = subtitleOf();
  current = make(page);
  current.key = key;
  current.remade = remade;
  replace(document.getElementById("main"), current.element);
  for (const button of document.querySelectorAll("#tools .picture-tool")) button.disabled = !current.picture();
}

function subtitleOf() {
  const { input, rows } = { input: page.network.data.input, rows: page.network.rows };
  return `input ${times(input.shape)} · ${rows.length} layers`;
}

function go(event, view) {
  event.preventDefault();
  change({ view }, { kept: true });
}

/** Which of two networks is looked at. */
function modelPicker(key) {
  if (networks.length < 2 || key === "compare") return [];
  const fresh = { layer: null, unit: null, between: null, tile: null, pixel: null };
  return h("select", {
    "aria-label": "Network",
    onchange: (event) => change({ network: event.target.selectedIndex || null, ...fresh }, { kept: true }),
  }, networks.map((one) => h("option", { selected: one === page.network }, one.data.name)));
}

function pickerOf() {
  const { rows } = page.network;
  const number = page.rowNumber();
  const to = (at) => () => change({ layer: rows[at].name, unit: null, between: null }, { kept: true });
  const select = h("select", { id: "layer", onchange: () => to(select.selectedIndex)() },
    rows.map((row, at) => h("option", { selected: at === number }, row.name)));
  return [
    modelPicker(),
    h("label", { for: "layer" }, "Layer"),
    h("button", { type: "button", "aria-label": "The layer before", disabled: number === 0, onclick: to(Math.max(number - 1, 0)) }, "←"),
    select,
    h("button", { type: "button", "aria-label": "The layer after", disabled: number === rows.length - 1, onclick: to(Math.min(number + 1, rows.length - 1)) }, "→"),
  ];
}

// -------------------------------------------------------------------- tools

const THEMES = { light: "dark", dark: "light" };

function theme() {
  return state.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

function dress() {
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
}

function toolsOf() {
  const name = () => `${data.networks[0].name.replace(/[^A-Za-z0-9]+/g, "-")}-${current.key}`;
  return [
    h("button", { type: "button", id: "theme", "aria-label": "Light or dark", title: "Light or dark", onclick: () => change({ theme: THEMES[theme()] }) }, "◐"),
    h("button", { type: "button", class: "picture-tool", title: "The picture as SVG", onclick: () => saveSvg(current.picture(), name()) }, "SVG"),
    h("button", { type: "button", class: "picture-tool", title: "The picture as PNG", onclick: () => savePng(current.picture(), name()) }, "PNG"),
    h("button", { type: "button", title: "The numbers as JSON", onclick: () => saveJson(current.answer ? current.answer() : page.network.rows, name()) }, "JSON"),
  ];
}

const REMADE = ["view", "layer", "network"];

start();
dress();
replace(document.getElementById("tools"), toolsOf());
listen((changes) => {
  dress();
  if (!current) return;
  const stays = current.key === "layers" && state.view !== "sees" && changes !== null && !("view" in changes) && !("network" in changes);
  if (changes === null || (REMADE.concat(current.remade).some((key) => key in changes) && !stays)) show();
  else if (!("theme" in changes)) current.update(changes);
});
requestAnimationFrame(() => setTimeout(() => current ?? show())); // the head is painted first
window.fieldwise = { networks, state, change, numbersOf };
