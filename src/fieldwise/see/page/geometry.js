// Stretches of the input that tiles need: crops on the grid, as `tile/crops/cut.py` cuts them.

import { pull } from "./pull.js";
import { hull } from "./region.js";
import { first, last, range } from "./sets.js";
import { valueOf } from "./words.js";

const gcd = (a, b) => (b ? gcd(b, a % b) : a);
const lcm = (a, b) => (a / gcd(a, b)) * b;

/** The values on which a value depends, and itself. */
export function needed(network, value) {
  const found = new Set([value]);
  for (let at = value; at >= 0; at--)
    if (found.has(at)) for (const [operand] of network.values[at].reads) found.add(operand);
  return found;
}

const grids = new WeakMap();

/** Per axis, the step on which crops must start so that every layer meets its stride alike. */
export function gridOf(network, value) {
  if (!grids.has(network)) {
    const found = [];
    for (const { grid, reads } of network.values)
      found.push(reads.reduce((steps, [operand]) => steps.map((step, axis) => lcm(step, found[operand][axis])), grid));
    grids.set(network, found);
  }
  return grids.get(network)[value];
}

/** Why a row cannot be cut into tiles; null where it can. */
export function notTiled(network, row) {
  const full = row.axes.find((axis) => axis.full);
  if (full) return `'${row.name}' sees all of the input${full.full_by ? ` since '${full.full_by}'` : ""}: no tile smaller than the input is exact. Choose a layer before it.`;
  if (row.axes.some((axis) => axis.past || axis.future)) return `'${row.name}' sees all that came before or comes after: no tile is exact.`;
  const placed = network.values[row.value].along;
  if (placed.some((dim) => dim === null) || row.axes.some((axis) => axis.stride === undefined || axis.stride === 0))
    return `The output positions of '${row.name}' do not lie over the input as rows and columns do.`;
  return null;
}

/** What follows from cutting one layer's output along the axes of the input. */
export class Cutting {
  constructor(network, row) {
    this.network = network;
    this.value = row.value;
    this.grid = gridOf(network, row.value);
    this.scales = row.axes.map((axis) => 1 / valueOf(axis.stride));
    this.dims = network.values[row.value].along;
    this.lengths = this.dims.map((dim) => network.values[row.value].shape[dim]);
    this.extents = row.axes.map((axis) => axis.extent);
    this.known = network.axes.map(() => new Map());
  }

  /** The outputs [start, stop) along an axis that belong to the input's [low, high); the last ones take what is left. */
  owned(axis, low, high) {
    const size = this.network.sizes[axis];
    const start = Math.min(Math.floor(low * this.scales[axis] + 1e-9), this.lengths[axis]);
    const stop = high >= size ? this.lengths[axis] : Math.min(Math.floor(high * this.scales[axis] + 1e-9), this.lengths[axis]);
    return [start, Math.max(start, stop)];
  }

  /** The indices of an axis of the input that outputs [start, stop) read, borders included. */
  reads(axis, start, stop) {
    const key = start * (this.lengths[axis] + 1) + stop;
    if (!this.known[axis].has(key)) {
      const reached = pull(this.network, this.value, [this.region([[axis, start, stop]])]);
      const sides = reached[0] ? hull(reached[0].region) : null;
      this.known[axis].set(key, sides ? sides[this.network.axes[axis]] : []);
    }
    return this.known[axis].get(key);
  }

  region(intervals) {
    const sides = this.network.values[this.value].shape.map((size) => range(0, size));
    for (const [axis, start, stop] of intervals) sides[this.dims[axis]] = range(start, stop);
    return sides;
  }

  /** The interval [start, stop) of the input to read for outputs [start, stop) along an axis. */
  crop(axis, start, stop) {
    const size = this.network.sizes[axis];
    const seen = this.reads(axis, start, stop);
    if (!seen.length) return [0, Math.min(size, size % this.grid[axis] || this.grid[axis])];
    const end = last(seen) + 1;
    const grid = this.grid[axis];
    return [Math.floor(first(seen) / grid) * grid, Math.min(size, end + ((size - end) % grid))];
  }

  /** Tiles of a size along an axis, and the input samples that all crops read. */
  cost(axis, tile) {
    const size = this.network.sizes[axis];
    let read = 0;
    let count = 0;
    for (let low = 0; low < size; low += tile) {
      const [start, stop] = this.owned(axis, low, Math.min(low + tile, size));
      if (start >= stop) continue;
      const [from, to] = this.crop(axis, start, stop);
      read += to - from;
      count += 1;
    }
    return { count, read };
  }

  /** How many of outputs [start, stop) see beyond the crop [from, to), at least. */
  wrong(axis, [start, stop], [from, to]) {
    let count = 0;
    for (let index = start; index < stop; index++) {
      const seen = this.reads(axis, index, index + 1);
      if (seen.length && (first(seen) < from || last(seen) >= to)) count += 1;
    }
    return count;
  }

  /** The most bytes alive at once for a tile, every value a copy from its making to its last reader. */
  peak(intervals) {
    const { values } = this.network;
    const reached = pull(this.network, this.value, [this.region(intervals.map(([start, stop], axis) => [axis, start, stop]))]);
    const sizes = reached.map((reach, number) => {
      const { shape, bytes } = values[number];
      const box = hull(reach.region) ?? [];
      const whole = shape.reduce((product, size) => product * size, 1);
      return whole && box.length ? (bytes / whole) * box.reduce((product, side) => product * (last(side) - first(side) + 1), 1) : 0;
    });
    const lastReader = new Array(values.length).fill(-1);
    reached.forEach((_, number) => values[number].reads.forEach(([operand]) => (lastReader[operand] = number)));
    let held = 0;
    let peak = 0;
    reached.forEach((_, number) => {
      held += sizes[number];
      peak = Math.max(peak, held);
      new Set(values[number].reads.map(([operand]) => operand)).forEach((operand) => {
        if (lastReader[operand] === number) held -= sizes[operand] ?? 0;
      });
    });
    return peak;
  }
}
