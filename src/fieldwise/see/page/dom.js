// Elements of HTML and SVG. Text from the data is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity))
    if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

/** An element of HTML: h("p", { class: "note" }, "text", …); on… are listeners. */
export const h = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** An element of SVG. */
export const s = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A list of terms and what is said of each; entries without a value are left out. */
export function terms(entries) {
  return h(
    "dl",
    { class: "terms" },
    entries
      .filter(([, said]) => said !== null && said !== undefined && said !== "")
      .map(([term, said]) => h("div", {}, h("dt", {}, term), h("dd", {}, said))),
  );
}

/** Runs a function at most once per frame, with the last arguments. */
export function perFrame(run) {
  let waiting = null;
  return (...given) => {
    if (waiting === null)
      requestAnimationFrame(() => {
        const latest = waiting;
        waiting = null;
        run(...latest);
      });
    waiting = given;
  };
}

let spoken = 0;

/** Says a sentence to those who listen rather than look. */
export function say(text) {
  clearTimeout(spoken);
  spoken = setTimeout(() => (document.getElementById("live").textContent = text), 250);
}
