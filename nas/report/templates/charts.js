const charts = JSON.parse(document.getElementById("charts")?.textContent ?? "{}");
/* Text of a tooltip, escaped; a dash for a line without a value. */
const sanitize = (value) => String(value).replace(/^NaN$/, "–").replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const how = { mode: "vega", ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: { sanitize } };
window.ready = Promise.all(Object.entries(charts).map(([id, spec]) => vegaEmbed(`#${id}`, spec, how)));

/* Charts are as wide as their container; for printing, charts wider than a page are drawn again at its width. */
const PAPER = 640;
window.ready.then((drawn) => {
  const views = drawn.map((one) => one.view);
  let widths = [];
  addEventListener("beforeprint", () => {
    widths = views.map((view) => view.width());
    views.forEach((view, at) => { if (widths[at] > PAPER) view.width(PAPER).run(); });
  });
  addEventListener("afterprint", () => views.forEach((view, at) => view.width(widths[at]).run()));
});

for (const table of document.querySelectorAll("table[data-sortable]")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const order = new Intl.Collator("en", { numeric: true });
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.ariaSort === "ascending";
    const numeric = head.classList.contains("number");
    const key = (row) => numeric ? Number(row.cells[column].dataset.value ?? NaN) : row.cells[column].textContent.trim();
    const compare = (a, b) => {
      if (numeric && (isNaN(a) || isNaN(b))) return isNaN(a) - isNaN(b); // unknown values last
      return (down ? -1 : 1) * (numeric ? a - b : order.compare(a, b));
    };
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.ariaSort = down ? "descending" : "ascending";
    body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
  }));
}
