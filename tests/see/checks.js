// What is asked of a page as a whole; each returns what is wrong.

/** Text whose contrast with its ground is below 4.5 to 1, with the ratio. */
function contrasts() {
  const parts = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const low = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const hidden = !element.checkVisibility() || element.closest("script, :disabled, .unseen");
    if (!walker.currentNode.textContent.trim() || hidden) continue;
    const inSvg = element.closest("svg");
    const ink = light(parts(inSvg ? getComputedStyle(element).fill : getComputedStyle(element).color));
    const paper = light(ground(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) low.push([walker.currentNode.textContent.trim().slice(0, 30), Math.round(ratio * 10) / 10]);
  }
  return low;
}

/** Controls without a name for those who listen. */
function nameless() {
  return [...document.querySelectorAll("button, select, input, a, [tabindex='0'], svg[role]")]
    .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim() && !one.labels?.length)
    .map((one) => one.outerHTML.slice(0, 80));
}

/** How far things moved after they were painted. */
function shift() {
  return new Promise((done) => {
    let sum = 0;
    const observer = new PerformanceObserver((list) => list.getEntries().forEach((one) => (sum += one.value)));
    observer.observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done(sum), 300);
  });
}
