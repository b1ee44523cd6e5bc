// Answers the questions on stdin, as tests/see/asking.py puts them, with the page's own modules.
import { readFileSync } from "node:fs";
import { answered } from "./answered.mjs";
import { Cutting, notTiled } from "../../src/fieldwise/see/page/geometry.js";
import { Network, numbersOf } from "../../src/fieldwise/see/page/pull.js";
import { latencyOf, Rows, stepsOf } from "../../src/fieldwise/see/page/schedule.js";

const { network: data, ...asked } = JSON.parse(readFileSync(0, "utf8"));
const network = new Network(data);

function tilesOf({ row, tile }) {
  const why = notTiled(network, network.rows[row]);
  if (why) return { why };
  const cutting = new Cutting(network, network.rows[row]);
  const { sizes } = network;
  const crops = sizes.map((size, axis) => {
    const found = [];
    for (let low = 0; low < size; low += tile[axis]) {
      const [start, stop] = cutting.owned(axis, low, Math.min(low + tile[axis], size));
      if (start < stop) found.push({ writes: [start, stop], reads: cutting.crop(axis, start, stop) });
    }
    return found;
  });
  return { grid: cutting.grid, crops, costs: tile.map((length, axis) => cutting.cost(axis, length)) };
}

function streamOf({ row, axis, band, stride }) {
  const rows = new Rows(network, network.rows[row].value, axis);
  const steps = stepsOf(rows, band);
  const most = rows.values.map((value) => [network.values[value].name, Math.max(...steps.map(({ done, floor }) => done.get(value) - floor.get(value)))]);
  return { steps: steps.length, kept: most, bytes: steps.map((step) => step.bytes), latency: latencyOf(rows, stride), finished: steps.at(-1).done.get(rows.target) };
}

console.log(JSON.stringify({
  ...answered(network, numbersOf, { at: [], who: [], ...asked }),
  tiles: (asked.tiles ?? []).map(tilesOf),
  streams: (asked.streams ?? []).map(streamOf),
}));
