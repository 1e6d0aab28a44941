// One query in two indexes: the results beside one another, with lines between the places of the same row.

import { count, fill, find, make, makeSvg, ordinal, Runner, score } from "/page/dom.js";
import { ask } from "/page/server.js";

const LONG = 180;

export function startSearch({ indexes }, chosen) {
  if (!indexes.length) return () => {};
  find("search").hidden = false;
  const names = indexes.map((index) => index.name);
  const [a, b] = [find("index-a"), find("index-b")];
  for (const select of [a, b]) fill(select, names);
  find("field-index-b").hidden = names.length < 2;
  const field = find("query");
  let lines = () => {};
  let hasSearched = false;

  // Each side starts with an index of its model.
  function follow() {
    chosen.models.forEach((model, side) => {
      const own = indexes.find((index) => index.model === model);
      if (own) (side ? b : a).value = own.name;
    });
    if (a.value === b.value && names.length > 1) b.value = names.find((name) => name !== a.value);
  }

  async function work(signal) {
    const query = field.value.trim();
    if (!query) throw new Error("Write what to search for.");
    const asked = names.length > 1 ? [a.value, b.value] : [a.value];
    const found = await ask("/page/search", { indexes: asked, query, k: 10 }, signal);
    lines = show(found, indexes);
    hasSearched = true;
    const most = Math.max(...found.results.map((one) => one.hits.length));
    const isIn = found.num_shared === 1 ? "is" : "are";
    const shared = `${found.num_shared} of the first ${count(most, "row")} ${isIn} in both lists. `;
    return `${asked.length > 1 ? shared : ""}Searched in`;
  }

  const runner = new Runner({ section: find("search"), status: find("search-status"), error: find("query-error"), field, work });
  find("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    runner.now();
  });
  for (const select of [a, b]) select.addEventListener("change", () => hasSearched && runner.now());
  field.addEventListener("input", () => field.value.trim() && runner.soon());
  new ResizeObserver(() => lines()).observe(find("results"));
  return () => {
    follow();
    if (hasSearched) runner.now();
  };
}

function show({ results }, indexes) {
  const lists = results.map((result, side) => list(result, results[1 - side], side, indexes));
  if (lists.length === 1) {
    find("results").replaceChildren(lists[0]);
    return () => {};
  }
  const drawing = makeSvg("svg", { class: "moves", "aria-hidden": "true" });
  find("results").replaceChildren(lists[0], drawing, lists[1]);
  const draw = () => drawLines(drawing, lists, results);
  draw();
  return draw;
}

function list({ index, hits }, other, side, indexes) {
  const { model, num_rows: numRows } = indexes.find((one) => one.name === index);
  return make(
    "div",
    { class: "panel" },
    make("h3", {}, make("i", { class: `dot ${side ? "b" : "a"}`, "aria-hidden": "true" }), `${index} `, make("small", {}, `${model}, ${count(numRows, "row")}`)),
    hits.length ? make("ol", { class: "hits" }, ...hits.map((hit) => showHit(hit, other, side))) : make("p", { class: "note" }, "The index is empty."),
  );
}

function showHit(hit, other, side) {
  const text = make("p", { class: "passage", dir: "auto" }, hit.text === null ? "The corpus stores no texts." : hit.text + (hit.is_cut ? " …" : ""));
  const item = make("li", { "data-id": hit.id }, make("p", { class: "hit" }, make("b", {}, `${hit.rank}`), make("span", { class: "id" }, hit.id), make("span", { class: "num" }, score(hit.score, 3)), chip(hit, other, side)), text);
  if ((hit.text ?? "").length > LONG) {
    text.classList.add("folded");
    const button = make("button", { type: "button", class: "plain more", "aria-expanded": "false" }, "more");
    button.addEventListener("click", () => {
      const isFolded = text.classList.toggle("folded");
      button.textContent = isFolded ? "more" : "less";
      button.setAttribute("aria-expanded", String(!isFolded));
    });
    item.append(button);
  }
  return item;
}

// The rank of a row in the other list, and how far it moved.
function chip({ rank, other }, found, side) {
  if (!found) return null;
  const there = side ? "A" : "B";
  if (other === null) return make("span", { class: "chip new" }, `not in the first ${found.depth} of ${there}`);
  if (other === rank) return make("span", { class: "chip same" }, `same in ${there}`);
  const isUp = rank < other;
  // Moves are told once, from A to B.
  if (!side) return make("span", { class: "chip" }, `${ordinal(other)} in B`);
  const moved = make("span", { "aria-hidden": "true" }, `${isUp ? "▲" : "▼"} ${Math.abs(other - rank)} `);
  const words = make("span", { class: "unseen" }, `${Math.abs(other - rank)} ${isUp ? "higher" : "lower"}, `);
  return make("span", { class: `chip ${isUp ? "up" : "down"}` }, moved, words, `from ${ordinal(other)} in A`);
}

function drawLines(drawing, lists, results) {
  const frame = drawing.getBoundingClientRect();
  drawing.replaceChildren();
  if (!frame.width) return;
  const places = lists.map((node) => new Map([...node.querySelectorAll("[data-id]")].map((item) => [item.dataset.id, middle(item, frame)])));
  const ranks = results.map((result) => new Map(result.hits.map((hit) => [hit.id, hit.rank])));
  const w = frame.width;
  for (const [id, y] of places[0]) {
    const to = places[1].get(id);
    const moved = to === undefined ? "gone" : ranks[1].get(id) < ranks[0].get(id) ? "up" : ranks[1].get(id) > ranks[0].get(id) ? "down" : "same";
    const path = to === undefined ? `M0 ${y} h${w * 0.2}` : `M0 ${y} C${w / 2} ${y} ${w / 2} ${to} ${w} ${to}`;
    drawing.append(makeSvg("path", { class: moved, d: path }));
  }
  for (const [id, y] of places[1]) if (!places[0].has(id)) drawing.append(makeSvg("path", { class: "gone", d: `M${w} ${y} h${-w * 0.2}` }));
}

const middle = (item, frame) => item.firstElementChild.getBoundingClientRect().top + item.firstElementChild.getBoundingClientRect().height / 2 - frame.top;
