"use strict";

// Sort a table by the column of the clicked header; a second click reverses the order.
function sortTable(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const column = [...header.parentNode.children].indexOf(header);
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  const value = (row) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
  const isMissing = (v) => v === "–" || v === "";
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    // Rows without a value stay at the end in both orders.
    if (isMissing(x) || isMissing(y)) return isMissing(x) - isMissing(y);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return ascending ? order : -order;
  };
  const rows = [...body.rows].sort(compare);
  // The line above the baselines is meaningless in another order.
  for (const row of rows) row.classList.remove("break");
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

// Each text is in the page once. In an opened contrast, a copy is shown below the scores of its item.
function showTexts(fold) {
  for (const link of fold.querySelectorAll(":scope > table th > a")) {
    const row = link.closest("tr");
    const source = document.querySelector(link.hash + " > dl");
    if (row.nextElementSibling?.className === "texts" || !source) continue;
    const cell = document.createElement("td");
    cell.colSpan = 3;
    cell.append(source.cloneNode(true));
    const texts = document.createElement("tr");
    texts.className = "texts";
    texts.append(cell);
    row.after(texts);
  }
}

document.addEventListener(
  "toggle",
  (event) => {
    if (event.target.open && event.target.parentNode.className === "drill") showTexts(event.target);
  },
  true, // the event does not bubble
);

// Open collapsed parts for printing, except items: only those that the reader opened are printed.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(#items .part details)")) fold.open = true;
});

// On narrow screens, all but the decision is closed at first. A link to a closed part opens it.
if (matchMedia("screen and (max-width: 36rem)").matches) {
  for (const part of document.querySelectorAll(".part")) part.open = false;
}

function openTarget() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentNode.closest("details")) fold.open = true;
  const part = target.querySelector(":scope > .part");
  if (part) part.open = true;
  target.scrollIntoView();
}

addEventListener("hashchange", openTarget);
openTarget();
