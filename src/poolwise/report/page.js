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
  for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  body.append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sortTable(button.closest("th")));
}

// Paper cannot unfold.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
