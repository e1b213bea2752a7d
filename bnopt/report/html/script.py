"""The script: it makes the heads of sortable tables into buttons. The page is whole without it."""

SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const numeric = head.classList.contains("num");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const up = now === "none" ? !numeric : now === "descending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const keyed = [...body.rows].map((row) => [row.cells[column].dataset.v, row]);
      keyed.sort(([a], [b]) => {
        if (a === undefined || b === undefined) {
          return (a === undefined ? 1 : 0) - (b === undefined ? 1 : 0);
        }
        const order = numeric ? (+a > +b) - (+a < +b) : (a > b) - (a < b);
        return up ? order : -order;
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}
"""
