"use strict";
// Column heads of `table.sortable` become buttons: ascending, descending, as it was. Numbers are a cell's data-value; one
// that is empty is not known, and comes last. Text sorts as people count (run2 before run10), but a hash in <code> is no
// number, whatever digits it starts with. Without this script the tables stand as they are.
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

function order(a, b, direction) {
  const [x, y] = [a, b].map((cell) => cell.dataset.value ?? cell.textContent.trim());
  if (x === "" || y === "") return (x === "") - (y === "");
  const sign = direction === "ascending" ? 1 : -1;
  const numbers = a.dataset.value !== undefined && b.dataset.value !== undefined;
  if (numbers) return sign * (Number(x) - Number(y));
  return sign * x.localeCompare(y, "en", { numeric: a.querySelector("code") === null });
}

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const given = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  if (given.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const direction = NEXT[head.getAttribute("aria-sort") ?? "none"];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (direction !== "none") head.setAttribute("aria-sort", direction);
      const rows = [...given];
      if (direction !== "none") rows.sort((a, b) => order(a.cells[column], b.cells[column], direction));
      body.append(...rows);
    });
  });
}
