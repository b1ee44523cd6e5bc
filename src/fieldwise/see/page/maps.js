// Maps along one axis: {q·advance + o : o in offsets[r]} for output q·P + r, tables, and borders.

import {
  EMPTY, clip, count, first, has, intersect, isDisjoint, last, members, minkowski, mod, modulo,
  quotients, range, scale, shift, union, united,
} from "./sets.js";

/** Maps and sets by number, as the page's data holds them. */
export class Tables {
  constructor(data) {
    this.sets = data.sets;
    this.maps = data.maps;
  }

  set(number) {
    return this.sets[number];
  }

  isIdentity(number) {
    const map = this.maps[number];
    if (!Array.isArray(map) || map[0] !== 1 || map[1].length !== 1) return false;
    const offset = this.sets[map[1][0]];
    return Array.isArray(offset) && offset.length === 2 && offset[0] === 0 && offset[1] === 1;
  }

  /** What these outputs read. */
  pull(number, outputs) {
    const map = this.maps[number];
    if (Array.isArray(map)) return this.pullRegular(map, outputs);
    if (map.rows) return united(this.rowsOf(map, outputs));
    return clip(this.pullEndless(this.maps[map.law], clip(outputs, map.outputs), map.size), map.size);
  }

  rowsOf(map, outputs) {
    const pairs = [];
    for (const index of members(clip(outputs, map.rows.length))) {
      const row = this.sets[map.rows[index]];
      for (let i = 0; i < row.length; i += 2) pairs.push([row[i], row[i + 1]]);
    }
    return pairs;
  }

  pullRegular([advance, offsets], outputs) {
    const period = offsets.length;
    const pairs = [];
    if (period > 1 && count(outputs) <= period) {
      for (const index of members(outputs)) {
        const turn = Math.floor(index / period) * advance;
        const offset = this.sets[offsets[mod(index, period)]];
        for (let i = 0; i < offset.length; i += 2) pairs.push([offset[i] + turn, offset[i + 1] + turn]);
      }
      return united(pairs);
    }
    for (let phase = 0; phase < period; phase++)
      addTurns(pairs, quotients(outputs, period, phase), advance, this.sets[offsets[phase]]);
    return united(pairs);
  }

  /** As far as [0, size): of a map whose offsets may have no end. */
  pullEndless([advance, offsets], outputs, size) {
    const pairs = [];
    for (const index of members(outputs)) {
      const offset = this.sets[offsets[mod(index, offsets.length)]];
      const seen = inside(offset, Math.floor(index / offsets.length) * advance, size);
      for (let i = 0; i < seen.length; i += 2) pairs.push([seen[i], seen[i + 1]]);
    }
    return united(pairs);
  }

  /** What one output reads of an unbounded axis; what never ends, as far as [0, size). */
  at(number, index, size) {
    const map = this.maps[number];
    if (!Array.isArray(map)) return this.pull(number, [index, index + 1]);
    const [advance, offsets] = map;
    const offset = this.sets[offsets[mod(index, offsets.length)]];
    const turn = Math.floor(index / offsets.length) * advance;
    return Array.isArray(offset) ? shift(offset, turn) : inside(offset, turn, size);
  }

  /** The outputs in [0, size) that read one of these inputs. */
  push(number, inputs, size) {
    const map = this.maps[number];
    if (!Array.isArray(map) || map[1].length > MANY) return this.pushed(number, inputs, size);
    const [advance, offsets] = map;
    const period = offsets.length;
    const pairs = [];
    for (let phase = 0; phase < period; phase++) {
      const offset = this.sets[offsets[phase]];
      for (const q of members(turns(inputs, offset, advance, Math.ceil(size / period)))) {
        const index = q * period + phase;
        if (index < size) pairs.push([index, index + 1]);
      }
    }
    return united(pairs);
  }

  /** The same, output by output. */
  pushed(number, inputs, size) {
    const pairs = [];
    for (let index = 0; index < size; index++)
      if (!isDisjoint(this.pull(number, [index, index + 1]), inputs)) pairs.push([index, index + 1]);
    return united(pairs);
  }

  /** The least range that holds everything that outputs 0 … size − 1 read. */
  reach(number, size) {
    const read = this.pull(number, range(0, size));
    return read.length ? [first(read), last(read) + 1] : [0, 0];
  }
}

const MANY = 256; // phases: of more, outputs are tried one by one

function addTurns(pairs, turns, advance, offset) {
  for (let j = 0; j < offset.length; j += 2) {
    const [low, high] = [offset[j], offset[j + 1]];
    for (let i = 0; i < turns.length; i += 2) {
      const [begin, end] = [turns[i] * advance, (turns[i + 1] - 1) * advance];
      if (Math.abs(advance) <= high - low) pairs.push([low + Math.min(begin, end), high + Math.max(begin, end)]);
      else for (let q = turns[i]; q < turns[i + 1]; q++) pairs.push([low + q * advance, high + q * advance]);
    }
  }
}

/** The q in [0, most) for which q·advance + offset holds one of these inputs. */
function turns(inputs, offset, advance, most) {
  if (advance === 0) return isDisjoint(inputs, offset) ? EMPTY : range(0, most);
  let starts = minkowski(inputs, scale(offset, -1));
  if (advance < 0) starts = scale(starts, -1);
  return clip(quotients(starts, Math.abs(advance), 0), most);
}

/** A set that may have no end, shifted and as far as it lies in [0, size). */
function inside(set, by, size) {
  if (Array.isArray(set)) return clip(shift(set, by), size);
  const low = set.low + by;
  const high = set.high + by;
  const pairs = [];
  addTail(pairs, set.left, by, 0, Math.min(size, low));
  addTail(pairs, set.right, by, Math.max(0, high), size);
  return union(united(pairs), clip(shift(set.window, by), size));
}

function addTail(pairs, [modulus, residues], by, low, high) {
  if (low >= high) return;
  if (residues.length === modulus) {
    pairs.push([low, high]);
    return;
  }
  for (const residue of residues)
    for (let at = low + mod(residue + by - low, modulus); at < high; at += modulus) pairs.push([at, at + 1]);
}

// -------------------------------------------------------------------- borders

const [DROP, WRAP, REFLECT, SYMMETRIC, CLAMP] = [0, 1, 2, 3, 4];

/** The samples of [0, size) that these indices read. */
export function land(border, indices, size) {
  const within = clip(indices, size);
  if (border === DROP || within === indices || size === 0) return within;
  if (border === WRAP) return modulo(indices, size);
  if (border === CLAMP) {
    let found = within;
    if (first(indices) < 0) found = union(found, [0, 1]);
    if (last(indices) >= size) found = union(found, [size - 1, size]);
    return found;
  }
  if (border === REFLECT && size === 1) return [0, 1];
  const period = border === REFLECT ? 2 * size - 2 : 2 * size;
  const folded = modulo(indices, period);
  const mirrored = shift(scale(folded, -1), border === REFLECT ? period : period - 1);
  return union(clip(folded, size), clip(mirrored, size));
}

/** The indices of [start, stop) that land on one of these samples. */
export function sources(border, samples, size, [start, stop]) {
  const within = clip(samples, size);
  const reach = range(start, stop);
  if (border === DROP || !within.length || !reach.length) return intersect(within, reach);
  if (border === CLAMP) {
    let found = within;
    if (has(within, 0)) found = union(found, range(Math.min(start, 0), 0));
    if (has(within, size - 1)) found = union(found, range(size, Math.max(stop, size)));
    return intersect(found, reach);
  }
  let period = size;
  let cell = within;
  if (border === REFLECT) {
    period = Math.max(2 * size - 2, 1);
    cell = modulo(union(within, shift(scale(within, -1), period)), period);
  } else if (border === SYMMETRIC) {
    period = 2 * size;
    cell = union(within, shift(scale(within, -1), period - 1));
  }
  const pairs = [];
  for (let turn = Math.floor(start / period); turn <= Math.floor(stop / period); turn++)
    for (let i = 0; i < cell.length; i += 2) pairs.push([cell[i] + turn * period, cell[i + 1] + turn * period]);
  return intersect(united(pairs), reach);
}
