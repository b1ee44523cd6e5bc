// The state of the page is its fragment: a link shows the same view.

const listeners = [];

export const state = {};

const NUMBERS = new Set(["unit", "pixel", "tile"]);

function read() {
  for (const key of Object.keys(state)) delete state[key];
  for (const [key, text] of new URLSearchParams(location.hash.slice(1)))
    state[key] = NUMBERS.has(key) ? text.split(",").map(Number).filter(Number.isInteger) : text;
}

function written() {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(state))
    if (value !== null && value !== undefined && value !== "") found.set(key, Array.isArray(value) ? value.join(",") : value);
  return `#${found.toString().replaceAll("%2C", ",")}`;
}

let waiting = 0;

/** Writes the state into the address; browsers refuse to do that for every move of a pointer. */
function write(kept) {
  clearTimeout(waiting);
  waiting = 0;
  try {
    if (kept) history.pushState(null, "", written());
    else history.replaceState(null, "", written());
  } catch {
    // a page without an address of its own, such as a frame in a notebook
  }
}

/** Changes the state and tells those who listen; `kept`: as an entry of the history. */
export function change(changes, { kept = false } = {}) {
  if (kept && waiting) write(false);
  Object.assign(state, changes);
  if (kept) write(true);
  else if (!waiting) waiting = setTimeout(() => write(false), 250);
  for (const tell of listeners) tell(changes);
}

export function listen(listener) {
  listeners.push(listener);
}

export function start() {
  read();
  addEventListener("hashchange", () => {
    read();
    for (const listener of listeners) listener(null);
  });
  addEventListener("popstate", () => {
    read();
    for (const listener of listeners) listener(null);
  });
}
