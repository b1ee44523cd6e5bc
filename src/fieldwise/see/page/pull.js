// Exact dependence at this input size: regions pulled back, or pushed on, through the reads of the network.

import { Tables, land, sources } from "./maps.js";
import { hull, isCovered, project, regionOf, reshape, volume } from "./region.js";
import { clip, first, has, intersect, isDisjoint, last, mod, range } from "./sets.js";

/** A network as the page's data holds it, and what its output positions see. */
export class Network {
  constructor(data) {
    this.data = data;
    this.tables = new Tables(data);
    this.values = data.values;
    this.rows = data.rows;
    this.axes = data.axes;
    this.sizes = data.axes.map((axis) => data.input.shape[axis]);
  }

  /** The sizes along the dimensions that say which output position of a value is meant. */
  unitSizes(value) {
    const { shape, unit } = this.values[value];
    return unit.map((dim) => shape[dim]);
  }

  /** What is meant by some output positions of a value: products of sets along its unit dimensions. */
  regionOfUnits(value, products, channel = null) {
    const { shape, unit, batch } = this.values[value];
    const own = channel === null ? null : channelDim(this.values[value]);
    return regionOf(
      products.map((product) => {
        const sides = shape.map((size) => range(0, size));
        unit.forEach((dim, place) => (sides[dim] = product[place]));
        batch.forEach((dim) => (sides[dim] = clip([0, 1], shape[dim])));
        if (own !== null) sides[own] = [channel, channel + 1];
        return sides;
      }),
    );
  }

  /** What an output position sees in this input, and of every value on the way (see `pull`). */
  at(value, unit, channel = null) {
    const region = this.regionOfUnits(value, [unit.map((index) => [index, index + 1])], channel);
    return this.seen(pull(this, value, region));
  }

  /** The part of a reach that lies in the input, along the reported axes. */
  seen(reached) {
    const { region, sure, whys } = reached[0] || NOTHING;
    const products = project(region, this.axes);
    const exact = region === sure || isCovered(region, sure) || isCovered(products, project(sure, this.axes));
    return { products, exact, why: exact ? null : whys.join("; "), reached };
  }

  /** The output positions of a value within a reach. */
  units(reached, value) {
    const found = reached[value];
    return found ? project(found.region, this.values[value].unit) : [];
  }

  /** What an output position sees by the closed form, as if the input had no borders; null where it is not here. */
  unbounded(value, unit) {
    const { form, unit: dims } = this.values[value];
    if (form === null) return null;
    const { digits, of } = this.data.forms[form];
    const places = new Map();
    dims.forEach((dim, place) => {
      let rest = unit[place];
      for (let digit = digits[dim].length - 1; digit >= 0; digit--) {
        places.set(`${dim},${digit}`, mod(rest, digits[dim][digit]));
        rest = Math.floor(rest / digits[dim][digit]);
      }
    });
    const index = (followed) =>
      followed.reduce((total, [dim, digit]) => total * digits[dim][digit] + places.get(`${dim},${digit}`), 0);
    const products = of
      .filter(([, where]) => where.every(([dim, set]) => has(this.tables.set(set), unit[dims.indexOf(dim)])))
      .map(([tracks, , why]) => ({
        sides: tracks.map(([followed, map], axis) => this.tables.at(map, index(followed), this.sizes[axis])),
        why,
      }));
    return { products: regionOf(products.map((one) => one.sides)), why: products.find((one) => one.why)?.why ?? null };
  }

  /** Per value, what depends on this position of the input. */
  who(position) {
    const sides = this.data.input.shape.map((size) => range(0, size));
    this.axes.forEach((axis, place) => (sides[axis] = [position[place], position[place] + 1]));
    return push(this, [sides]);
  }
}

/** The dimension that holds a value's channels; null where it has no single one. */
export function channelDim({ shape, channel }) {
  const wide = channel.filter((dim) => shape[dim] > 1);
  const found = wide.length ? wide : channel;
  return found.length === 1 ? found[0] : null;
}

const NOTHING = { region: [], sure: [], whys: [] };

/** Per value, what a region of one value depends on: at most `region`, at least `sure`. */
export function pull(network, value, region) {
  const pending = new Array(value + 1);
  const reached = new Array(value + 1);
  pending[value] = [{ region, sure: region, whys: [] }];
  for (let at = value; at >= 0; at--) {
    if (!pending[at]) continue;
    const found = (reached[at] = together(pending[at]));
    for (const [operand, path] of network.values[at].reads) {
      const part = backward(network, path, found, network.values[operand].shape, network.values[at].shape);
      if (part.region.length) (pending[operand] ||= []).push(part);
    }
  }
  return reached;
}

/** Per value, what depends on a region of the input. */
export function push(network, region) {
  const reached = new Array(network.values.length);
  reached[0] = { region, sure: region, whys: [] };
  for (let at = 1; at < network.values.length; at++) {
    const parts = [];
    for (const [operand, path] of network.values[at].reads) {
      if (!reached[operand]) continue;
      const part = forward(network, path, reached[operand], network.values[operand].shape, network.values[at].shape);
      if (part.region.length) parts.push(part);
    }
    if (parts.length) reached[at] = together(parts);
  }
  return reached;
}

function together(parts) {
  if (parts.length === 1) return parts[0];
  const region = regionOf(parts.flatMap((part) => part.region));
  if (parts.every((part) => part.region === part.sure)) return { region, sure: region, whys: [] };
  const sure = regionOf(parts.flatMap((part) => part.sure));
  return { region, sure, whys: [...new Set(parts.flatMap((part) => part.whys))] };
}

function hops(network, path, operand, result) {
  const [steps, shapes] = network.data.paths[path];
  const before = [operand, ...shapes];
  const after = [...shapes, result];
  return steps.map((step, number) => [step, before[number], after[number]]);
}

function backward(network, path, reach, operand, result) {
  return hops(network, path, operand, result).reduceRight((found, [step, before, after]) => {
    const change = step === 0
      ? (region) => reshape(region, after, before)
      : (region) => pullStep(network.tables, step, region, before);
    return changed(found, step, change);
  }, reach);
}

function forward(network, path, reach, operand, result) {
  return hops(network, path, operand, result).reduce((found, [step, before, after]) => {
    const change = step === 0
      ? (region) => reshape(region, before, after)
      : (region) => pushStep(network.tables, step, region, before, after);
    return changed(found, step, change);
  }, reach);
}

function changed({ region, sure, whys }, step, change) {
  const made = change(region);
  const unknown = step === 0 ? undefined : step[0].find((coord) => coord.why !== undefined);
  if (unknown) return { region: made, sure: [], whys: [...whys, unknown.why] };
  return { region: made, sure: sure === region ? made : change(sure), whys };
}

function pullStep(tables, [coords, where], region, before) {
  const driven = coords.filter(Array.isArray).map((coord) => coord[0]);
  const shared = [...new Set(driven.filter((dim, place) => driven.indexOf(dim) !== place))];
  const products = [];
  for (const product of restricted(tables, where, region))
    for (const part of split(product, shared))
      products.push(coords.map((coord, dim) => pullAxis(tables, coord, part, before[dim])));
  return regionOf(products);
}

function pullAxis(tables, coord, product, size) {
  if (Array.isArray(coord)) {
    const [dim, map, border] = coord;
    return land(border, tables.isIdentity(map) ? product[dim] : tables.pull(map, product[dim]), size);
  }
  return coord.fixed === undefined ? range(0, size) : clip(tables.set(coord.fixed), size);
}

function pushStep(tables, [coords, where], region, before, after) {
  const products = [];
  for (const product of region) {
    const sides = after.map((size) => range(0, size));
    for (const [dim, set] of where) sides[dim] = intersect(sides[dim], tables.set(set));
    let alive = true;
    coords.forEach((coord, dim) => {
      if (Array.isArray(coord)) {
        const [along, map, border] = coord;
        sides[along] = intersect(sides[along], pushAxis(tables, map, border, product[dim], before[dim], after[along]));
      } else if (coord.fixed !== undefined && isDisjoint(product[dim], tables.set(coord.fixed))) alive = false;
    });
    if (alive) products.push(sides);
  }
  return regionOf(products);
}

function pushAxis(tables, map, border, side, before, after) {
  if (border === 0 && tables.isIdentity(map)) return clip(side, after);
  const landed = border === 0 ? side : sources(border, side, before, tables.reach(map, after));
  return tables.push(map, landed, after);
}

function restricted(tables, where, region) {
  if (!where.length) return region;
  const limits = new Map(where);
  return region
    .map((product) => product.map((side, dim) => (limits.has(dim) ? intersect(side, tables.set(limits.get(dim))) : side)))
    .filter((product) => product.every((side) => side.length));
}

/** One product per index of these dimensions, so that no combination is invented. */
function split(product, dims) {
  return dims.reduce(
    (parts, dim) =>
      parts.flatMap((part) => {
        const found = [];
        for (let i = 0; i < part[dim].length; i += 2)
          for (let index = part[dim][i]; index < part[dim][i + 1]; index++)
            found.push(part.map((side, place) => (place === dim ? [index, index + 1] : side)));
        return found;
      }),
    [product],
  );
}

/** What is said of a region in numbers: first and last index per axis, and how many positions it has. */
export function numbersOf(products) {
  const sides = hull(products);
  return {
    lo: sides ? sides.map(first) : null,
    hi: sides ? sides.map(last) : null,
    count: volume(products),
  };
}

