// A streamed run of one layer, row by row: what is computed and kept in every step, in integers.
// The same as `tile/bands/schedule.py`, with rows read off the network's reads.

import { needed } from "./geometry.js";
import { pull } from "./pull.js";
import { first, last, range } from "./sets.js";

/** Rows of every value that a layer needs along one axis of the input, and which rows read which. */
export class Rows {
  constructor(network, value, axis) {
    this.network = network;
    this.axis = axis;
    this.values = [...needed(network, value)].sort((a, b) => a - b);
    this.target = value;
    this.known = new Map();
    this.reads = new Map(this.values.map((at) => [at, network.values[at].reads
      .filter(([operand]) => this.values.includes(operand))
      .map(([operand, path]) => [operand, this.spans(at, operand, path)])]));
  }

  dim(value) {
    return this.network.values[value].along[this.axis];
  }

  count(value) {
    const dim = this.dim(value);
    return dim === null ? 1 : this.network.values[value].shape[dim];
  }

  rowBytes(value) {
    return this.network.values[value].bytes / Math.max(this.count(value), 1);
  }

  /** Per row of a result, the first and behind the last row that it and all before, or after it, read of an operand. */
  spans(value, operand, path) {
    const key = `${path},${this.network.values[value].shape},${this.network.values[operand].shape},${this.dim(value)},${this.dim(operand)}`;
    if (!this.known.has(key)) this.known.set(key, this.found(value, operand, path));
    return this.known.get(key);
  }

  found(value, operand, path) {
    const count = this.count(value);
    const stops = new Array(count).fill(0);
    const starts = new Array(count).fill(Infinity);
    const [dim, to] = [this.dim(value), this.dim(operand)];
    const small = { values: [{ ...this.network.values[operand], reads: [] }, { ...this.network.values[value], reads: [[0, path]] }],
      data: this.network.data, tables: this.network.tables };
    for (let row = 0; row < count; row++) {
      const sides = this.network.values[value].shape.map((size) => range(0, size));
      if (dim !== null) sides[dim] = range(row, row + 1);
      const reached = pull(small, 1, [sides])[0];
      if (!reached) continue;
      for (const product of reached.region) {
        starts[row] = Math.min(starts[row], to === null ? 0 : first(product[to]));
        stops[row] = Math.max(stops[row], to === null ? 1 : last(product[to]) + 1);
      }
    }
    for (let row = 1; row < count; row++) stops[row] = Math.max(stops[row], stops[row - 1]);
    for (let row = count - 2; row >= 0; row--) starts[row] = Math.min(starts[row], starts[row + 1]);
    return { starts, stops };
  }
}

/** The steps of a run in bands of so many input rows: per value the rows done and the first that is kept. */
export function stepsOf(rows, band) {
  const total = rows.count(0);
  const done = new Map(rows.values.map((value) => [value, 0]));
  let floor = floors(rows, done);
  const steps = [];
  for (let at = 0; done.get(rows.target) < rows.count(rows.target) && steps.length < 4096; ) {
    at = Math.min(at + band, total);
    const ready = readyOf(rows, at);
    const most = Math.ceil((band * rows.count(rows.target)) / total);
    const wanted = wantedOf(rows, done, floor, most);
    for (const value of rows.values) {
      const high = Math.min(wanted.get(value), ready.get(value));
      if (high > done.get(value)) done.set(value, high);
    }
    floor = floors(rows, done);
    steps.push({ available: at, done: new Map(done), floor: new Map(floor), bytes: held(rows, done, floor) });
    if (at === total && steps.length > 1 && same(steps.at(-1).done, steps.at(-2).done) && same(steps.at(-1).floor, steps.at(-2).floor)) break;
  }
  return steps;
}

const same = (a, b) => [...a].every(([key, value]) => b.get(key) === value);

/** How many rows of each value can be computed from so many rows of the input. */
export function readyOf(rows, available) {
  const ready = new Map([[0, available]]);
  for (const value of rows.values) {
    if (value === 0) continue;
    let most = rows.count(value);
    for (const [operand, { stops }] of rows.reads.get(value)) most = Math.min(most, below(stops, ready.get(operand)));
    ready.set(value, most);
  }
  return ready;
}

/** How many entries of an ascending list are no larger than a limit. */
function below(ascending, limit) {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ascending[middle] <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Per value, up to which row it is asked for, if the target is asked for `most` more rows. */
function wantedOf(rows, done, floor, most) {
  const wanted = new Map(done);
  wanted.set(rows.target, Math.min(done.get(rows.target) + most, rows.count(rows.target)));
  for (const value of [...rows.values].reverse()) {
    const [low, high] = [Math.max(done.get(value), floor.get(value)), wanted.get(value)];
    if (low >= high) continue;
    for (const [operand, { stops }] of rows.reads.get(value)) wanted.set(operand, Math.max(wanted.get(operand), stops[high - 1]));
  }
  return wanted;
}

/** Per value, the least row that some value still reads. */
function floors(rows, done) {
  const floor = new Map(rows.values.map((value) => [value, rows.count(value)]));
  floor.set(rows.target, done.get(rows.target));
  for (const value of [...rows.values].reverse()) {
    const from = Math.max(done.get(value), floor.get(value));
    for (const [operand, { starts }] of rows.reads.get(value)) {
      const least = from < starts.length ? Math.min(starts[from], rows.count(operand)) : rows.count(operand);
      floor.set(operand, Math.min(floor.get(operand), least));
    }
  }
  return floor;
}

function held(rows, done, floor) {
  let bytes = 0;
  for (const value of rows.values) bytes += Math.max(done.get(value) - floor.get(value), 0) * rows.rowBytes(value);
  return bytes;
}

/** The most input samples behind its own first one that a row of the target waits for; stride: of its rows. */
export function latencyOf(rows, stride) {
  const [total, count] = [rows.count(0), rows.count(rows.target)];
  let longest = 0;
  let given = 0;
  for (let samples = 1; samples <= total && given < count; samples++) {
    const ready = readyOf(rows, samples).get(rows.target);
    if (ready > given) longest = Math.max(longest, samples - 1 - Math.floor(given * stride));
    given = ready;
  }
  return longest;
}
