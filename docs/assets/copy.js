/* A copy button copies the commands of a block, without prompts and without what they print. */
(() => {
  "use strict";

  /** The commands of a session of a shell or of Python; all of any other text. */
  function commands(text) {
    const lines = text.split("\n");
    const isPython = lines.some((line) => line.startsWith(">>>"));
    if (!isPython && !lines.some((line) => line.startsWith("$ "))) return text;
    const kept = [];
    let goesOn = false;
    for (const line of lines) {
      if (isPython) {
        if (/^(>>>|\.\.\.)( |$)/.test(line)) kept.push(line.slice(4));
      } else if (goesOn || line.startsWith("$ ")) {
        kept.push(goesOn ? line : line.slice(2));
        goesOn = line.endsWith("\\");
      }
    }
    return kept.join("\n");
  }

  document.addEventListener(
    "click",
    (event) => {
      const button = event.target.closest("[data-clipboard-target]");
      if (!button) return;
      const block = document.querySelector(button.dataset.clipboardTarget);
      if (block) button.setAttribute("data-clipboard-text", commands(block.textContent.trimEnd()));
    },
    true, // before the button's own listener
  );
})();
