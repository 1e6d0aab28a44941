"use strict";

// Sort a table by the column whose header was pressed; press again to turn the order round.
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
  // The line that set the anchors apart means nothing in another order.
  for (const row of rows) row.classList.remove("break");
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

// A text stands in the page once. Where a contrast names its item, a copy goes below the scores.
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

// Paper cannot unfold; of hundreds of contrasts only the items that a reader opened are printed.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not(#items details)")) fold.open = true;
});
