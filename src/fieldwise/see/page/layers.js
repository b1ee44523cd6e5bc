// Layers: the module tree with its numbers, a chart of them over depth, and what is known of one layer.

import { h, replace, s, terms } from "./dom.js";
import { change, state } from "./state.js";
import { bytes, extentOf, numberOf, perAxis, percent, times, valueOf } from "./words.js";

/** The share of the input that the middle output position of a row sees, along all axes together. */
export function shareOf(network, row) {
  return row.axes.reduce((share, axis, place) => {
    const seen = axis.full ? network.sizes[place] : axis.clipped;
    return share === null || seen === undefined ? null : share * Math.min(seen / network.sizes[place], 1);
  }, 1);
}

export function layersView(page) {
  const { network } = page;
  const body = h("tbody");
  const card = h("section", { class: "card", "aria-label": "The selected layer" });
  const found = h("p", { class: "quiet", role: "status" });
  const search = h("input", {
    type: "search", id: "search", placeholder: "Find a layer", "aria-label": "Find a layer", autocomplete: "off",
    oninput: () => fill(),
  });
  const chart = chartOf(page);
  const open = new Set();
  const tree = treeOf(network.rows);
  openAsFarAs(tree, open, 40);

  function fill() {
    const wanted = search.value.trim().toLowerCase();
    const entries = wanted ? matching(network.rows, wanted) : visible(tree, open, 0);
    replace(found, wanted ? `${entries.length} of ${network.rows.length} layers` : "");
    replace(body, entries.map((entry) => rowOf(page, entry, open, fill)));
  }

  function select() {
    for (const tr of body.children) tr.classList.toggle("chosen", Number(tr.dataset.row) === page.rowNumber());
    replace(card, cardOf(page));
    chart.select();
  }

  fill();
  const element = h(
    "div", { class: "layers" },
    h("section", { class: "panel chart", "aria-label": "Extent and stride over depth" },
      h("h2", {}, "Extent and stride over depth"), chart.element),
    card,
    h("section", { class: "panel", "aria-label": "All layers" },
      h("div", { class: "row" }, h("h2", {}, "Layers"), search, found,
        h("span", { class: "push" },
          h("button", { type: "button", onclick: () => (openAll(tree, open), fill()) }, "Open all"),
          h("button", { type: "button", onclick: () => (open.clear(), fill()) }, "Close all"))),
      h("div", { class: "scroll" }, h("table", { class: "tree" }, headOf(), body))),
  );
  select();
  return { element, update: select, picture: () => chart.element };
}

const COLUMNS = [
  ["Extent", "how many positions of the input lie between the first and the last that it sees"],
  ["Stride", "how far the field moves from one output position to the next"],
  ["Start", "where the field of the first output position begins; negative: in the padding", "wide"],
  ["Look-ahead", "how far it sees beyond its own position", "wide"],
  ["Of the input", "the share that the middle output position sees", "middle"],
  ["Shape", "of the value", "wide"],
  ["Memory", "of the value", "middle"],
  ["", "notes: BatchNorm that folds, and what breaks shift equivariance"],
];

function headOf() {
  return h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Layer"),
    COLUMNS.map(([name, title, when]) => h("th", { scope: "col", title, class: when ?? null, "aria-label": name ? null : "Notes" }, name))));
}

function rowOf(page, { node, depth, row }, open, fill) {
  const { network } = page;
  const shown = row ?? node.row;
  const inside = node && node.children.size > 0;
  const isOpen = inside && open.has(node.path);
  const toggle = inside && h("button", {
    type: "button", class: "toggle", "aria-expanded": String(isOpen), "aria-label": `${isOpen ? "Close" : "Open"} ${node.path}`,
    onclick: (event) => {
      event.stopPropagation();
      if (isOpen) open.delete(node.path);
      else open.add(node.path);
      fill();
    },
  }, isOpen ? "▾" : "▸");
  const label = row ? row.name : node.label;
  const name = h("th", { scope: "row", class: "label" }, h("span", { class: "indent" }), toggle || h("span", { class: "dot" }),
    shown === null ? h("span", { class: "quiet" }, label)
      : h("button", { type: "button", class: "link", title: shown.name, onclick: () => choose(network, shown) }, label),
    inside && !isOpen && h("span", { class: "quiet op" }, ` ${node.size}`),
    !inside && shown !== null && h("span", { class: "quiet op" }, ` ${shown.op}`));
  name.style.setProperty("--depth", depth);
  const number = shown === null ? null : network.rows.indexOf(shown);
  const cells = shown === null ? COLUMNS.map(([, , when]) => h("td", { class: when ?? null })) : cellsOf(page, shown);
  return h("tr", {
    "data-row": number, class: number !== null && number === page.rowNumber() ? "chosen" : null,
    onclick: shown === null ? null : () => choose(network, shown),
  }, name, cells);
}

function choose(network, row) {
  change({ layer: row.name, unit: null, between: null }, { kept: state.layer !== row.name });
}

function cellsOf(page, row) {
  const { network } = page;
  const share = shareOf(network, row);
  const said = [
    perAxis(row.axes.map(extentOf)),
    perAxis(row.axes.map((axis) => numberOf(axis.stride))),
    perAxis(row.axes.map((axis) => numberOf(axis.start))),
    perAxis(row.axes.map((axis) => numberOf(axis.ahead))),
    share === null ? "–" : percent(share),
    times(network.values[row.value].shape),
    bytes(network.values[row.value].bytes),
  ];
  return [...said.map((text, place) => h("td", { class: COLUMNS[place][2] ?? null }, text)), h("td", { class: "pins" }, pinsOf(page, row))];
}

/** Short marks, each with a title: what folds, what breaks equivariance, what is a bound. */
export function pinsOf(page, row) {
  const fold = foldOf(page, row);
  const broken = page.breakers(row);
  return [
    fold && h("span", { class: fold.goes ? "pin good" : "pin", title: fold.text }, fold.goes ? "folds" : "stays"),
    broken.length > 0 && h("span", { class: "pin bad", title: broken.map((one) => one.why).join("; ") }, "shift"),
    row.why && h("span", { class: "pin bad", title: row.why }, "bound"),
  ];
}

export function foldOf(page, row) {
  const { folds } = page.network.data;
  return Object.hasOwn(folds, row.name) ? { goes: folds[row.name][0] === 1, text: folds[row.name][1] } : null;
}

function cardOf(page) {
  const { network } = page;
  const row = page.row();
  const value = network.values[row.value];
  const share = shareOf(network, row);
  const full = row.axes.find((axis) => axis.full_by !== undefined);
  const broken = page.breakers(row);
  const link = (view, text) => h("a", { href: "#", onclick: (event) => { event.preventDefault(); change({ view }, { kept: true }); } }, text);
  return [
    h("h2", { class: "path" }, row.name),
    h("p", { class: "quiet" }, `${row.op} · ${times(value.shape)} · ${bytes(value.bytes)}`),
    terms([
      ["Extent", perAxis(row.axes.map(extentOf))],
      ["Count", row.axes.some((axis) => axis.count !== undefined) ? perAxis(row.axes.map((axis) => axis.count ?? extentOf(axis))) : null],
      ["Stride", perAxis(row.axes.map((axis) => numberOf(axis.stride)))],
      ["Start", perAxis(row.axes.map((axis) => numberOf(axis.start)))],
      ["Look-ahead", perAxis(row.axes.map((axis) => numberOf(axis.ahead)))],
      ["Phases", row.axes.some((axis) => axis.period) ? perAxis(row.axes.map((axis) => axis.period ?? 1)) : null],
      ["Of the input", share === null ? null : percent(share)],
    ]),
    full && h("p", {}, `It sees all of the input since ${full.full_by}.`),
    row.local && h("p", {}, `Through local paths alone its extent is ${perAxis(row.local.map(extentOf))}.`),
    row.misaligned && h("p", {}, `Branches of different strides meet at ${row.misaligned}.`),
    row.pieces && h("p", {}, `Its output positions are of ${row.pieces} kinds; the numbers are the largest and the least.`),
    row.sized && h("p", {}, "True at this input size."),
    row.why && h("p", { class: "alert" }, `An upper bound: ${row.why}.`),
    foldOf(page, row) && h("p", {}, foldOf(page, row).text),
    broken.map((one) => h("p", { class: "alert" }, `Shift: ${one.why}.${one.remedy ? ` Repair: ${one.remedy}.` : ""}`)),
    (row.aliases ?? []).length > 0 && h("p", { class: "quiet" }, `Also called ${row.aliases.join(", ")}.`),
    h("p", { class: "links" }, link("sees", "What does it see?"), link("tiles", "Tiles")),
  ];
}

// -------------------------------------------------------------------- the tree

/** The rows under the parts of their names; a row stands at the node of its whole name. */
function treeOf(rows) {
  const root = { path: "", label: "", children: new Map(), row: null, size: 0 };
  for (const row of rows) {
    let node = root;
    let path = "";
    for (const part of row.name.split(".")) {
      path = path ? `${path}.${part}` : part;
      if (!node.children.has(part)) node.children.set(part, { path, label: part, children: new Map(), row: null, size: 0 });
      node.size += 1;
      node = node.children.get(part);
    }
    node.row = row;
    node.size += 1;
  }
  withOutputs(root, rows);
  return root;
}

/** A module that no row is named after shows the row that it returned, if one has its name as another name. */
function withOutputs(root, rows) {
  const byAlias = new Map(rows.flatMap((row) => (row.aliases ?? []).map((alias) => [alias, row])));
  const visit = (node) => {
    if (node.row === null) node.row = byAlias.get(node.path) ?? null;
    for (const child of node.children.values()) visit(child);
  };
  for (const child of root.children.values()) visit(child);
}

function* nodes(tree) {
  for (const child of tree.children.values()) {
    yield child;
    yield* nodes(child);
  }
}

function openAsFarAs(tree, open, most) {
  let shown = tree.children.size;
  let level = [...tree.children.values()];
  while (level.length && shown < most) {
    const inner = level.flatMap((node) => [...node.children.values()]);
    if (shown + inner.length > most) break;
    for (const node of level) if (node.children.size) open.add(node.path);
    shown += inner.length;
    level = inner;
  }
}

function openAll(tree, open) {
  for (const node of nodes(tree)) if (node.children.size) open.add(node.path);
}

function visible(tree, open, depth) {
  return [...tree.children.values()].flatMap((node) => [
    { node, depth, row: null },
    ...(open.has(node.path) ? visible(node, open, depth + 1) : []),
  ]);
}

const matching = (rows, wanted) =>
  rows
    .filter((row) => [row.name, row.op, ...(row.aliases ?? [])].some((name) => name.toLowerCase().includes(wanted)))
    .map((row) => ({ node: null, depth: 0, row }));

// -------------------------------------------------------------------- the chart

const WIDE = innerWidth < 600 ? 380 : 720;
const [HIGH, LEFT, BOTTOM, TOP] = [260, 44, 24, 12];

/** Extent and stride of every row over depth, on logarithmic scales; a click or the arrow keys select. */
function chartOf(page) {
  const { network } = page;
  const rows = network.rows;
  const extents = rows.map((row) => Math.max(...row.axes.map((axis, place) => axis.extent ?? network.sizes[place])));
  const strides = rows.map((row) => Math.max(...row.axes.map((axis) => valueOf(axis.stride) ?? 0)));
  const top = Math.max(...extents, ...network.sizes, 2);
  const least = Math.min(1, ...strides.filter((stride) => stride > 0));
  const x = (number) => LEFT + ((WIDE - LEFT - 8) * (number + 0.5)) / rows.length;
  const y = (value) => TOP + (HIGH - TOP - BOTTOM) * (1 - Math.log2(value / least) / Math.log2(top / least));
  const line = (values) => {
    let data = "";
    values.forEach((value, number) => (data += value > 0 ? `${data && values[number - 1] > 0 ? "L" : "M"}${x(number).toFixed(1)} ${y(value).toFixed(1)}` : ""));
    return data;
  };
  const ticks = [];
  for (let tick = least; tick <= top; tick *= top / least > 4096 ? 8 : 4) ticks.push(tick);
  const svg = s("svg", {
    viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chart live", tabindex: 0, role: "application", "aria-roledescription": "chart",
    "aria-label": `Extent and stride of ${rows.length} layers over depth. Arrow keys select a layer.`,
  });
  for (const tick of ticks)
    svg.append(s("path", { class: "lines", d: `M${LEFT} ${y(tick)}H${WIDE - 8}` }),
      s("text", { x: LEFT - 6, y: y(tick) + 4, class: "tick", "text-anchor": "end" }, tick < 1 ? `1/${1 / tick}` : String(tick)));
  network.sizes.filter((size, place) => network.sizes.indexOf(size) === place).forEach((size) =>
    svg.append(s("path", { class: "limit", d: `M${LEFT} ${y(size)}H${WIDE - 8}` }),
      s("text", { x: LEFT + 8, y: y(size) < TOP + 12 ? y(size) + 13 : y(size) - 4, class: "tick" }, `the input, ${size}`)));
  rows.forEach((row, number) => {
    if (row.axes.some((axis) => axis.full))
      svg.append(s("rect", { class: "whole", x: x(number) - Math.max((WIDE - LEFT) / rows.length, 1) / 2, y: TOP, width: Math.max((WIDE - LEFT) / rows.length, 1), height: HIGH - TOP - BOTTOM }));
  });
  svg.append(s("path", { class: "line stride", d: line(strides) }), s("path", { class: "line extent", d: line(extents) }));
  const mark = s("path", { class: "mark" });
  const dots = [s("circle", { class: "dot extent", r: 4 }), s("circle", { class: "dot stride", r: 4 })];
  const words = s("text", { class: "tick strong", y: HIGH - 6 });
  svg.append(mark, ...dots, words);
  svg.append(
    s("text", { class: "key extent", x: WIDE - 66, y: HIGH - BOTTOM - 10, "text-anchor": "end" }, "extent"),
    s("text", { class: "key stride", x: WIDE - 14, y: HIGH - BOTTOM - 10, "text-anchor": "end" }, "stride"));
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDE;
    return Math.min(Math.max(Math.round(((place - LEFT) / (WIDE - LEFT - 8)) * rows.length - 0.5), 0), rows.length - 1);
  };
  svg.addEventListener("click", (event) => choose(network, rows[at(event)]));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choose(network, rows[Math.min(Math.max(page.rowNumber() + by, 0), rows.length - 1)]);
  });
  function select() {
    const number = page.rowNumber();
    mark.setAttribute("d", `M${x(number)} ${TOP}V${HIGH - BOTTOM}`);
    [extents, strides].forEach((values, place) => {
      dots[place].setAttribute("cx", x(number));
      dots[place].setAttribute("cy", values[number] > 0 ? y(values[number]) : -10);
    });
    words.textContent = rows[number].name;
    words.setAttribute("x", Math.min(Math.max(x(number), LEFT), WIDE - 8));
    words.setAttribute("text-anchor", x(number) > WIDE / 2 ? "end" : "start");
  }
  return { element: svg, select };
}
