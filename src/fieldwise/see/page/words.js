// How numbers are written: per axis, in bytes, as sets.

const SHOWN = 6;

/** What is said per axis, once where all say the same: "7", "3 × 5". */
export function perAxis(said) {
  return said.every((one) => one === said[0]) ? String(said[0]) : said.join(" × ");
}

export const times = (sizes) => sizes.join(" × ");

/** The extent of a row's field along one axis, in a word. */
export function extentOf(axis) {
  if (axis.full) return "all";
  if (axis.past && axis.future) return "past + future";
  if (axis.past) return "past";
  if (axis.future) return "future";
  if (axis.extent === undefined) return "–";
  return axis.least === undefined ? String(axis.extent) : `${axis.least}–${axis.extent}`;
}

export const numberOf = (value) => (value === undefined || value === null ? "–" : String(value).replace("-", "−"));

/** A fraction, "1/2", as a number. */
export function valueOf(text) {
  if (text === undefined || text === null) return null;
  const [top, bottom] = String(text).split("/").map(Number);
  return bottom ? top / bottom : top;
}

export function bytes(amount) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  let left = amount;
  while (left >= 1024 && place < units.length - 1) {
    left /= 1024;
    place += 1;
  }
  return `${place && left < 100 ? left.toFixed(1) : Math.round(left)} ${units[place]}`;
}

export function percent(part) {
  if (part > 0 && part < 0.001) return "< 0.1 %";
  return `${part === 1 || part === 0 || part >= 0.1 ? Math.round(part * 1000) / 10 : (part * 100).toFixed(1)} %`;
}

/** "12 – 31" of a run; several runs with commas, of many the first ones. */
export function runs(set) {
  const found = [];
  for (let i = 0; i < set.length && found.length < SHOWN; i += 2)
    found.push(set[i + 1] - set[i] === 1 ? numberOf(set[i]) : `${numberOf(set[i])} – ${numberOf(set[i + 1] - 1)}`);
  const more = set.length / 2 - found.length;
  return (found.join(", ") || "nothing") + (more > 0 ? `, … (${more} more runs)` : "");
}

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** What the axes of an input are called. */
export function axisNames(count) {
  return count === 1 ? ["position"] : count === 2 ? ["row", "column"] : count === 3 ? ["slice", "row", "column"]
    : Array.from({ length: count }, (_, place) => `axis ${place + 1}`);
}
