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

/** Changes the state and tells those who listen; `kept`: as an entry of the history. */
export function change(changes, { kept = false } = {}) {
  Object.assign(state, changes);
  const url = written();
  try {
    if (kept) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  } catch {
    // a page without an address of its own, such as a frame in a notebook
  }
  for (const listen of listeners) listen(changes);
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
