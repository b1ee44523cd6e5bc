// Regions of a finite index space: unions of products, each one set per dimension.

import { count, intersect, isEqual, isSubset, minkowski, minus, scale, union, united } from "./sets.js";

const isInside = (small, large) => small.every((side, dim) => isSubset(side, large[dim]));

/** The union of these products, reduced: none inside another, and joined where they differ in one dimension. */
export function regionOf(products) {
  let waiting = products.filter((product) => product.every((side) => side.length));
  if (waiting.length < 2) return waiting;
  if (waiting.length > 64) waiting = joinedAlong(waiting);
  let kept = [];
  while (waiting.length) {
    const product = waiting.pop();
    if (kept.some((old) => isInside(product, old))) continue;
    kept = kept.filter((old) => !isInside(old, product));
    const at = kept.findIndex((old) => differing(old, product) !== null);
    if (at < 0) {
      kept.push(product);
      continue;
    }
    const [old] = kept.splice(at, 1);
    const dim = differing(old, product);
    waiting.push(old.map((side, place) => (place === dim ? union(side, product[place]) : side)));
  }
  return kept;
}

/** The only dimension in which two products differ; null where they differ in more. */
function differing(one, two) {
  let found = null;
  for (let dim = 0; dim < one.length; dim++) {
    if (isEqual(one[dim], two[dim])) continue;
    if (found !== null) return null;
    found = dim;
  }
  return found;
}

function joinedAlong(products) {
  let left = products;
  for (let dim = 0; dim < products[0].length; dim++) {
    const groups = new Map();
    for (const product of left) {
      const key = product.map((side, place) => (place === dim ? "" : side.join())).join(";");
      const group = groups.get(key);
      if (group) group[dim] = union(group[dim], product[dim]);
      else groups.set(key, [...product]);
    }
    left = [...groups.values()];
  }
  return left;
}

/** Forget all dimensions but these. */
export const project = (region, dims) => regionOf(region.map((product) => dims.map((dim) => product[dim])));

/** What is left of one product without another, as products that are apart. */
function without(one, two) {
  const pieces = [];
  let rest = one;
  for (let dim = 0; dim < two.length; dim++) {
    const outside = minus(rest[dim], two[dim]);
    if (outside.length) pieces.push(rest.map((side, place) => (place === dim ? outside : side)));
    rest = rest.map((side, place) => (place === dim ? intersect(side, two[dim]) : side));
    if (!rest[dim].length) return [one];
  }
  return pieces;
}

/** Products that are apart, with the same union. */
export function disjoint(region) {
  const done = [];
  for (const product of region) {
    let pieces = [product];
    for (const old of done.slice()) pieces = pieces.flatMap((piece) => without(piece, old));
    done.push(...pieces);
  }
  return done;
}

export const volume = (region) =>
  disjoint(region).reduce((total, product) => total + product.reduce((size, side) => size * count(side), 1), 0);

export function isCovered(region, other) {
  let left = region;
  for (const product of other) left = left.flatMap((piece) => without(piece, product));
  return !left.length;
}

/** Per dimension, the union of the sides. */
export function hull(region) {
  return region.reduce((sides, product) => (sides ? sides.map((side, dim) => union(side, product[dim])) : product), null);
}

// -------------------------------------------------------------------- other dimensions

/** The same elements, addressed in another shape with the same row-major order. */
export function reshape(region, before, after) {
  if (isEqual(before, after) || !region.length) return region;
  const groups = groupsOf(before, after);
  return regionOf(
    region.flatMap((product) => {
      let partial = [[]];
      for (const [i, iEnd, j, jEnd] of groups) {
        const flat = flatten(product.slice(i, iEnd), before.slice(i, iEnd));
        const pieces = unflatten(flat, after.slice(j, jEnd));
        partial = partial.flatMap((head) => pieces.map((piece) => [...head, ...piece]));
      }
      return partial;
    }),
  );
}

const prod = (sizes) => sizes.reduce((product, size) => product * size, 1);

/** The finest pairs of runs of dimensions with equal products, as [start, stop, start, stop]. */
function groupsOf(before, after) {
  if (!prod(before)) return [[0, before.length, 0, after.length]];
  const groups = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    const [startI, startJ] = [i, j];
    let left = i < before.length ? before[i++] : 1;
    let right = j < after.length ? after[j++] : 1;
    while (left !== right) {
      if (left < right || j === after.length) left *= before[i++];
      else right *= after[j++];
    }
    groups.push([startI, i, startJ, j]);
  }
  return groups;
}

function flatten(sides, sizes) {
  return sides.reduce((flat, side, place) => minkowskiOfDigits(flat, sizes[place], side), [0, 1]);
}

/** {flat · size + i : i in side}, side within [0, size). */
function minkowskiOfDigits(flat, size, side) {
  if (side.length === 2 && side[0] === 0 && side[1] === size) return flat.map((end) => end * size);
  return minkowski(scale(flat, size), side);
}

/** Products over these sizes with the given flat indices, equal rows taken together. */
function unflatten(flat, sizes) {
  if (!flat.length) return [];
  if (!sizes.length) return [[]];
  if (sizes.length === 1) return [[flat]];
  const width = prod(sizes.slice(1));
  if (count(flat) === width * sizes[0]) return [sizes.map((size) => [0, size])];
  const rows = new Map();
  for (let i = 0; i < flat.length; i += 2) {
    const [start, stop] = [flat[i], flat[i + 1]];
    for (let row = Math.floor(start / width); row * width < stop; row++) {
      if (!rows.has(row)) rows.set(row, []);
      rows.get(row).push(Math.max(start - row * width, 0), Math.min(stop - row * width, width));
    }
  }
  const alike = new Map();
  for (const [row, pattern] of rows) {
    const key = pattern.join();
    if (!alike.has(key)) alike.set(key, [[], pattern]);
    alike.get(key)[0].push([row, row + 1]);
  }
  return [...alike.values()].flatMap(([indices, pattern]) =>
    unflatten(pattern, sizes.slice(1)).map((rest) => [united(indices), ...rest]),
  );
}

