// Finite sets of integers as sorted runs [start, stop, start, stop, …], half-open and apart.

export const EMPTY = [];

/** The set of these half-open pairs, in any order. */
export function united(pairs) {
  if (pairs.length < 2) return pairs.length ? [pairs[0][0], pairs[0][1]] : EMPTY;
  pairs.sort((a, b) => a[0] - b[0]);
  const runs = [];
  let [start, stop] = pairs[0];
  for (let i = 1; i < pairs.length; i++) {
    const [low, high] = pairs[i];
    if (low > stop) {
      runs.push(start, stop);
      start = low;
      stop = high;
    } else if (high > stop) stop = high;
  }
  runs.push(start, stop);
  return runs;
}

export function range(start, stop) {
  return stop > start ? [start, stop] : EMPTY;
}

export function pairsOf(set) {
  const pairs = [];
  for (let i = 0; i < set.length; i += 2) pairs.push([set[i], set[i + 1]]);
  return pairs;
}

export const first = (set) => set[0];
export const last = (set) => set[set.length - 1] - 1;
export const extent = (set) => (set.length ? set[set.length - 1] - set[0] : 0);

export function count(set) {
  let total = 0;
  for (let i = 0; i < set.length; i += 2) total += set[i + 1] - set[i];
  return total;
}

export function isEqual(a, b) {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function has(set, index) {
  for (let i = 0; i < set.length; i += 2) if (set[i] <= index && index < set[i + 1]) return true;
  return false;
}

export function* members(set) {
  for (let i = 0; i < set.length; i += 2) for (let at = set[i]; at < set[i + 1]; at++) yield at;
}

/** The member with this number, counted from the first. */
export function member(set, number) {
  let left = number;
  for (let i = 0; i < set.length; i += 2) {
    const length = set[i + 1] - set[i];
    if (left < length) return set[i] + left;
    left -= length;
  }
  return undefined;
}

export function union(a, b) {
  if (!a.length || a === b) return b;
  if (!b.length) return a;
  return united([...pairsOf(a), ...pairsOf(b)]);
}

export function intersect(a, b) {
  if (a === b) return a;
  const runs = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const start = Math.max(a[i], b[j]);
    const stop = Math.min(a[i + 1], b[j + 1]);
    if (start < stop) runs.push(start, stop);
    if (a[i + 1] < b[j + 1]) i += 2;
    else j += 2;
  }
  return runs;
}

export function minus(a, b) {
  const runs = [];
  let j = 0;
  for (let i = 0; i < a.length; i += 2) {
    let start = a[i];
    const stop = a[i + 1];
    while (j < b.length && b[j + 1] <= start) j += 2;
    for (let k = j; k < b.length && b[k] < stop; k += 2) {
      if (b[k] > start) runs.push(start, b[k]);
      start = Math.max(start, b[k + 1]);
    }
    if (start < stop) runs.push(start, stop);
  }
  return runs;
}

export const isSubset = (a, b) => a === b || !minus(a, b).length;
export const isDisjoint = (a, b) => !intersect(a, b).length;

export function between(set, low, high) {
  if (!set.length || (set[0] >= low && set[set.length - 1] <= high)) return set;
  return intersect(set, range(low, high));
}

export const clip = (set, size) => between(set, 0, size);

export const shift = (set, by) => (by ? set.map((end) => end + by) : set);

/** {factor · i}. */
export function scale(set, factor) {
  if (factor === 1 || !set.length) return set;
  if (factor === 0) return [0, 1];
  if (factor === -1) return set.map((end) => 1 - end).reverse();
  const pairs = [];
  for (const index of members(set)) pairs.push([index * factor, index * factor + 1]);
  return united(pairs);
}

/** {a + b}. */
export function minkowski(a, b) {
  const pairs = [];
  for (let i = 0; i < a.length; i += 2)
    for (let j = 0; j < b.length; j += 2) pairs.push([a[i] + b[j], a[i + 1] + b[j + 1] - 1]);
  return united(pairs);
}

/** {q : q · step + remainder is in the set}, step positive. */
export function quotients(set, step, remainder) {
  if (step === 1) return shift(set, -remainder);
  const pairs = [];
  for (let i = 0; i < set.length; i += 2) {
    const low = Math.ceil((set[i] - remainder) / step);
    const high = Math.floor((set[i + 1] - 1 - remainder) / step) + 1;
    if (low < high) pairs.push([low, high]);
  }
  return united(pairs);
}

export const mod = (index, size) => ((index % size) + size) % size;

/** {i mod size}. */
export function modulo(set, size) {
  const pairs = [];
  for (let i = 0; i < set.length; i += 2) {
    if (set[i + 1] - set[i] >= size) return [0, size];
    const low = mod(set[i], size);
    const high = low + set[i + 1] - set[i];
    pairs.push([low, Math.min(high, size)]);
    if (high > size) pairs.push([0, high - size]);
  }
  return united(pairs);
}
