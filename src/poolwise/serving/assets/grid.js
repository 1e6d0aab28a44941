// Similarity matrices beside one another, with one scale of colours; a cell lights up in both.

import { find, make, ordinal, score, shadeClass, shorten } from "/page/dom.js";

const MOST_NUMBERS = 12; // more texts leave no room for numbers in the cells
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Grids {
  constructor() {
    this.box = find("matrices");
    this.place = [1, 0];
    this.shown = null;
    for (const input of document.querySelectorAll("[name=scale]")) input.addEventListener("change", () => this.draw());
    this.box.addEventListener("pointerover", (event) => this.light(event.target.closest("td")));
    this.box.addEventListener("focusin", (event) => this.light(event.target.closest("td")));
    this.box.addEventListener("keydown", (event) => this.move(event));
  }

  show(texts, models) {
    this.shown = { texts, models: models.map((model) => ({ ...model, ranks: ranksOf(model.similarity) })) };
    const last = texts.length - 1;
    this.place = [Math.min(this.place[0], last), Math.min(this.place[1], last)];
    this.draw();
  }

  draw() {
    if (!this.shown) return;
    const { texts, models } = this.shown;
    const isRank = document.querySelector("[name=scale]:checked").value === "rank";
    const values = models.flatMap(({ similarity }) => similarity.flatMap((row, i) => row.filter((_, j) => i !== j)));
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const numPairs = (texts.length * (texts.length - 1)) / 2;
    const shade = (model, i, j) => {
      if (isRank) return numPairs > 1 ? 1 - (model.ranks[i][j] - 1) / (numPairs - 1) : 1;
      return high > low ? (model.similarity[i][j] - low) / (high - low) : 1;
    };
    find("ramp-low").textContent = isRank ? "least similar" : score(low);
    find("ramp-high").textContent = isRank ? "most similar" : score(high);
    this.box.replaceChildren(...models.map((model, side) => this.grid(model, side, texts, shade)));
  }

  grid(model, side, texts, shade) {
    const hasNumbers = texts.length <= MOST_NUMBERS;
    const head = texts.map((text, j) => make("th", { scope: "col", title: text }, `${j + 1}`));
    const rows = texts.map((text, i) =>
      make(
        "tr",
        {},
        make("th", { scope: "row", title: text }, make("b", {}, `${i + 1}`), make("span", {}, shorten(text, 60))),
        ...texts.map((_, j) => this.cell(model, i, j, shade, hasNumbers)),
      ),
    );
    return make(
      "div",
      { class: "panel" },
      make("h3", {}, make("i", { class: `dot ${side ? "b" : "a"}`, "aria-hidden": "true" }), model.name),
      make(
        "table",
        { class: hasNumbers ? "matrix" : "matrix many", role: "grid", "aria-label": `Cosine similarities in ${model.name}` },
        make("thead", {}, make("tr", {}, make("td", {}), ...head)),
        make("tbody", {}, ...rows),
      ),
    );
  }

  cell(model, i, j, shade, hasNumbers) {
    const value = model.similarity[i][j];
    const isHere = i === this.place[0] && j === this.place[1];
    const shared = { role: "gridcell", tabindex: isHere ? 0 : -1, "data-i": i, "data-j": j };
    if (i === j) return make("td", { ...shared, class: "self", "aria-label": `text ${i + 1} with itself` });
    const v = shade(model, i, j);
    const label = `texts ${i + 1} and ${j + 1}: ${score(value)}, ${ordinal(model.ranks[i][j])}`;
    return make(
      "td",
      { ...shared, class: shadeClass(v), "--v": `${Math.round(100 * v)}%`, "aria-label": label },
      hasNumbers ? score(value) : "",
    );
  }

  light(cell) {
    if (!cell || cell.dataset.i === undefined) return;
    const [i, j] = [Number(cell.dataset.i), Number(cell.dataset.j)];
    for (const lit of this.box.querySelectorAll(".lit")) lit.classList.remove("lit");
    for (const same of this.box.querySelectorAll(`td[data-i="${i}"][data-j="${j}"], tbody tr:nth-child(${i + 1}) th, thead th:nth-child(${j + 2})`)) {
      same.classList.add("lit");
    }
    const { texts, models } = this.shown;
    const said = models.map((model, side) =>
      make(
        "span",
        { class: "value" },
        make("i", { class: `dot ${side ? "b" : "a"}`, "aria-hidden": "true" }),
        i === j ? "1.00" : `${score(model.similarity[i][j])}, ${ordinal(model.ranks[i][j])} of ${(texts.length * (texts.length - 1)) / 2}`,
      ),
    );
    find("readout").replaceChildren(
      make("span", { class: "words" }, `${i + 1}  ${texts[i]}`),
      make("span", { class: "words" }, `${j + 1}  ${texts[j]}`),
      make("span", { class: "values" }, ...said),
    );
  }

  move(event) {
    const cell = event.target.closest("td");
    const step = MOVES[event.key];
    if (!cell || !step) return;
    const last = this.shown.texts.length - 1;
    const [i, j] = [Number(cell.dataset.i) + step[0], Number(cell.dataset.j) + step[1]];
    if (i < 0 || j < 0 || i > last || j > last) return;
    event.preventDefault();
    this.place = [i, j];
    for (const one of this.box.querySelectorAll("td[data-i]")) {
      one.tabIndex = Number(one.dataset.i) === i && Number(one.dataset.j) === j ? 0 : -1;
    }
    cell.closest("table").querySelector(`td[data-i="${i}"][data-j="${j}"]`).focus();
  }
}

// Return the rank of each pair among all pairs; equal similarities share the best rank.
function ranksOf(similarity) {
  const values = similarity.flatMap((row, i) => row.slice(i + 1)).sort((a, b) => b - a);
  const best = new Map();
  values.forEach((value, place) => best.has(value) || best.set(value, place + 1));
  return similarity.map((row) => row.map((value) => best.get(value) ?? 0));
}
