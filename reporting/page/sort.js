// A click on a header (or Enter, Space) sorts its table: upwards, downwards, as it was. Cells without a number stay at the end.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = header.querySelector("[role=button]");
    const sort = () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort")];
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", order);
      body.append(...(order === "none" ? original : [...original].sort((a, b) => compare(a, b, column, order))));
      table.classList.toggle("sorted", order !== "none");
    };
    button.addEventListener("click", sort);
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort();
    });
  });
}

function compare(a, b, column, order) {
  const [x, y] = [a, b].map((row) => row.cells[column]);
  const [p, q] = [x, y].map((cell) => ("v" in cell.dataset ? Number(cell.dataset.v) : null));
  const sign = order === "ascending" ? 1 : -1;
  if (p !== null && q !== null) return sign * (p - q);
  if (p !== null || q !== null) return p === null ? 1 : -1;
  return sign * x.textContent.localeCompare(y.textContent, undefined, { numeric: true });
}
