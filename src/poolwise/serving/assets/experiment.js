// The running experiment: the blocks of its report, fetched again while the page is looked at.

import { find, make } from "/page/dom.js";
import { ask } from "/page/server.js";

const FOCUSABLE = "a[href], button, summary, [tabindex]";

export function startExperiment({ experiment }) {
  if (!experiment) return;
  const [section, live, error] = [find("experiment"), find("experiment-live"), find("experiment-error")];
  section.hidden = false;
  find("to-experiment").hidden = false;
  find("experiment-h").textContent = `What do users prefer? Experiment ${experiment}`;
  let timer = 0;
  let seconds = 20;
  let isAsking = false;

  async function update() {
    clearTimeout(timer);
    if (isAsking) return;
    isAsking = true;
    try {
      const found = await ask("/page/experiment");
      seconds = found.seconds;
      find("experiment-seconds").textContent = `${seconds}`;
      show(found.blocks);
      find("experiment-at").textContent = `as of ${new Date().toLocaleTimeString()}`;
      error.textContent = "";
    } catch (problem) {
      if (error.textContent !== problem.message) error.textContent = problem.message;
    } finally {
      isAsking = false;
      section.toggleAttribute("data-stale", Boolean(error.textContent));
      if (live.checked && !document.hidden) timer = setTimeout(update, 1000 * seconds);
    }
  }

  live.addEventListener("change", () => (live.checked ? update() : clearTimeout(timer)));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (live.checked) update();
  });
  update();
}

// Replace the blocks that have changed, so that what the reader opened or has the focus in stays.
function show(blocks) {
  const box = find("experiment-blocks");
  const old = new Map([...box.children].map((node) => [node.dataset.key, node]));
  let last = null;
  for (const { key, html } of blocks) {
    let node = old.get(key);
    old.delete(key);
    if (node?.source !== html) {
      const before = node;
      node = make("div", { "data-key": key }, ...parse(html));
      node.source = html;
      label(node);
      if (before) replace(before, node);
      else if (last) last.after(node);
      else box.prepend(node);
    }
    last = node;
  }
  for (const node of old.values()) node.remove();
}

// The server has escaped all text in it; scripts in what is parsed this way never run.
function parse(html) {
  return [...new DOMParser().parseFromString(html, "text/html").body.childNodes];
}

// On a narrow page each row of a table is a list, and each cell needs the title of its column.
function label(node) {
  for (const table of node.querySelectorAll("table")) {
    const titles = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
    for (const row of table.tBodies[0]?.rows ?? []) [...row.cells].forEach((cell, place) => (cell.dataset.label = titles[place] ?? ""));
  }
}

function replace(before, node) {
  const opened = [...before.querySelectorAll("details")].map((fold) => fold.open);
  const focused = [...before.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  const scrolled = [...before.querySelectorAll(".scroll")].map((part) => part.scrollLeft);
  before.replaceWith(node);
  node.querySelectorAll("details").forEach((fold, place) => (fold.open = opened[place] ?? false));
  node.querySelectorAll(".scroll").forEach((part, place) => (part.scrollLeft = scrolled[place] ?? 0));
  if (focused >= 0) node.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}
