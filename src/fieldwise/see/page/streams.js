// Streams: a band goes down the input; which rows every layer holds, bytes over time, latency.

import { h, replace, s, say, terms } from "./dom.js";
import { latencyOf, Rows, stepsOf } from "./schedule.js";
import { change } from "./state.js";
import { axisNames, bytes, counted, valueOf } from "./words.js";

const WIDE = innerWidth < 600 ? 420 : 900;
const HIGH = 360;
const LONGEST = 20000; // samples

export function streamsView(page) {
  const { network } = page;
  const row = page.row();
  const names = axisNames(network.sizes.length);
  const axis = Math.min(Math.max(Number(page.state.axis) || 0, 0), names.length - 1);
  const most = network.values[row.value].along[axis] === null ? 0 : network.sizes[axis];
  if (most > LONGEST) {
    const why = `The input has ${most.toLocaleString("en")} samples along this axis, more than this page goes through; write it for a smaller --input, or ask fieldwise stream.`;
    return { element: h("section", { class: "panel narrow" }, h("h2", {}, "A long input"), h("p", {}, why)), update() {}, picture: () => null };
  }
  const rows = page.rowsOf(row.value, axis, () => new Rows(network, row.value, axis));
  const band = Math.min(Math.max(Number(page.state.band) || defaultBand(rows), 1), rows.count(0));
  const steps = stepsOf(rows, band);
  const shown = rows.values.filter((value) => value === 0 || value === row.value || steps.some(({ done, floor }) => done.get(value) > floor.get(value)));
  const picture = sweepOf(network, rows, shown, steps);
  const bars = barsOf(steps, (at) => change({ step: at }));
  const card = h("section", { class: "card", "aria-label": "Numbers" });
  const slider = h("input", { type: "range", min: 0, max: steps.length - 1, "aria-label": "Step", oninput: () => change({ step: Number(slider.value) }) });
  const latency = latencyOf(rows, valueOf(row.axes[axis].stride) ?? rows.count(0) / rows.count(row.value));
  const peak = Math.max(...steps.map((step) => step.bytes));
  const whole = rows.values.filter((value) => value !== 0 && steps.some(({ done, floor }) => rows.count(value) > 1 && floor.get(value) === 0 && done.get(value) === rows.count(value)));
  let playing = 0;

  function play() {
    clearInterval(playing);
    playing = setInterval(() => {
      if (!element.isConnected) return clearInterval(playing);
      return change({ step: (stepOf() + 1) % steps.length });
    }, 450);
  }

  const stepOf = () => Math.min(Math.max(Number(page.state.step ?? Math.floor(steps.length / 2)) || 0, 0), steps.length - 1);

  function update() {
    const at = stepOf();
    slider.value = at;
    picture.show(at);
    bars.show(at);
    const { available, done } = steps[at];
    replace(card,
      h("h2", {}, `Step ${at + 1} of ${steps.length}`),
      terms([
        ["Rows of the input so far", `${available} of ${rows.count(0)}`],
        ["Rows of the result so far", `${done.get(row.value)} of ${rows.count(row.value)}`],
        ["Kept now", bytes(steps[at].bytes)],
        ["Kept at most", bytes(peak)],
        ["Latency at this size", counted(latency, "sample")],
      ]),
      whole.length > 0 && h("p", { class: "alert" }, `Held whole, since what follows reads all of it: ${whole.slice(0, 3).map((value) => network.values[value].name).join(", ")}${whole.length > 3 ? ` and ${whole.length - 3} more` : ""}.`),
      row.axes[axis].past && h("p", { class: "alert" }, "It sees all of the past: where that is a state that a recurrent layer carries on, fieldwise stream keeps the state instead of the rows."),
      h("p", { class: "quiet" }, `Kept: rows that are computed and that later rows still read. Latency: how many samples after its own first one a row comes, at most. This is a stream up to ${row.name} by what each layer reads; the plan of a run may keep less, where it runs several layers as one, or more, where a mask hides taps of a kernel that it runs whole, and its blocks may be larger than the rows in them.`));
    say(`Step ${at + 1}: ${bytes(steps[at].bytes)} kept`);
  }

  const element = h("div", { class: "split" },
    h("div", { class: "side" },
      h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, `Rows that are kept on the way to ${row.name}`),
        h("p", { class: "quiet" }, "A strip per layer, the first row on top; filled: kept, line: computed so far.")),
        picture.element,
        h("div", { class: "row" }, h("button", { type: "button", onclick: play }, "Play"), h("button", { type: "button", onclick: () => clearInterval(playing) }, "Stop")), slider),
      h("figure", { class: "panel" }, h("figcaption", {}, h("h2", {}, "Bytes kept, step by step")), bars.element)),
    h("div", { class: "side" },
      h("section", { class: "panel" }, h("h2", {}, "The stream"), h("div", { class: "row fields" },
        names.length > 1 && h("label", {}, "along", h("select", { onchange: (event) => change({ axis: event.target.selectedIndex, step: null }) },
          names.map((name, place) => h("option", { selected: place === axis }, `${name}s`)))),
        h("label", {}, "band", h("input", { type: "number", min: 1, max: rows.count(0), value: band, onchange: (event) => change({ band: Number(event.target.value) || null, step: null }) })))),
      card));
  update();
  const answer = () => ({
    model: network.data.name, layer: row.name, axis: network.axes[axis], band, latency,
    steps: steps.map(({ available, done, floor, bytes: kept }) => ({ available, bytes: kept, rows: shown.map((value) => [network.values[value].name, floor.get(value), done.get(value)]) })),
  });
  return { element, update, picture: () => picture.element, answer };
}

/** As wide as makes some sixteen steps. */
function defaultBand(rows) {
  let band = 1;
  while (rows.count(0) / band > 24) band *= 2;
  return band;
}

function sweepOf(network, rows, shown, steps) {
  const gap = WIDE / shown.length;
  const width = Math.min(gap * 0.72, 26);
  const svg = s("svg", { viewBox: `0 0 ${WIDE} ${HIGH + 28}`, class: "chart", role: "img", "aria-label": `Rows that ${shown.length} values keep` });
  const bars = shown.map((value, place) => {
    const x = place * gap + (gap - width) / 2;
    const bar = s("rect", { class: "held", x, width });
    const line = s("path", { class: "mark" });
    svg.append(s("rect", { class: "ground strip", x, y: 4, width, height: HIGH }, s("title", {}, network.values[value].name)), bar, line);
    return { value, x, bar, line };
  });
  function show(at) {
    const { done, floor } = steps[at];
    for (const { value, x, bar, line } of bars) {
      const count = rows.count(value);
      const [low, high] = [Math.min(floor.get(value), done.get(value)), done.get(value)].map((index) => 4 + (HIGH * index) / Math.max(count, 1));
      bar.setAttribute("y", low);
      bar.setAttribute("height", Math.max(high - low, 0));
      line.setAttribute("d", `M${x} ${high}h${width}`);
    }
  }
  svg.append(s("text", { class: "tick", x: 0, y: HIGH + 22 }, "input"), s("text", { class: "tick", x: WIDE, y: HIGH + 22, "text-anchor": "end" }, network.values[shown.at(-1)].name));
  return { element: svg, show };
}

function barsOf(steps, pick) {
  const top = Math.max(...steps.map((step) => step.bytes), 1);
  const gap = WIDE / steps.length;
  const svg = s("svg", { viewBox: `0 0 ${WIDE} 130`, class: "chart", role: "img", "aria-label": "Bytes kept after each step" });
  const bars = steps.map(({ bytes: kept }, at) => {
    const height = (100 * kept) / top;
    const bar = s("rect", { class: "amount", x: at * gap + gap * 0.1, width: gap * 0.8, y: 110 - height, height, onclick: () => pick(at) }, s("title", {}, `Step ${at + 1}: ${bytes(kept)}`));
    svg.append(bar);
    return bar;
  });
  svg.append(s("path", { class: "lines", d: `M0 110H${WIDE}` }), s("text", { class: "tick", x: 0, y: 126 }, "first step"), s("text", { class: "tick", x: WIDE, y: 126, "text-anchor": "end" }, `at most ${bytes(top)}`));
  return { element: svg, show: (at) => bars.forEach((bar, place) => bar.classList.toggle("now", place === at)) };
}
