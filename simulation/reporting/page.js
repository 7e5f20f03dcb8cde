"use strict";
// Draws every figure when it comes near the view, and sorts tables.
(function () {
  const drawings = Array.from(document.querySelectorAll(".drawing"));
  const coarse = window.matchMedia("(pointer: coarse)").matches;

  function draw(box) {
    if (box.dataset.drawn) { return Promise.resolve(); }
    box.dataset.drawn = "yes";
    const source = document.querySelector('script[data-for="' + box.id + '"]');
    const figure = JSON.parse(source.textContent);
    // On a touch screen a finger scrolls the page.
    if (coarse) { figure.layout.dragmode = false; }
    if (box.clientWidth < 500) {
      figure.layout.font.size = 11;
      figure.layout.legend.font = { size: 10 };
      if (figure.data.every((trace) => (trace.name || "").length < 24)) {
        Object.assign(figure.layout.legend, { entrywidth: 0.48, entrywidthmode: "fraction" });
      }
      narrow(figure.layout);
      figure.data.map((trace) => trace.marker || {}).forEach(function (marker) {
        if (typeof marker.size === "number") { marker.size *= 0.7; }
      });
    }
    return Plotly.newPlot(box, figure.data, figure.layout, Object.assign({ displayModeBar: coarse ? false : "hover" }, CONFIG));
  }

  // Puts the unit of a long title of a horizontal axis into a line of its own.
  function narrow(layout) {
    Object.keys(layout).filter((key) => key.startsWith("xaxis")).forEach(function (key) {
      const title = layout[key].title;
      if (title && title.text && title.text.length > 24) {
        title.text = title.text.replace(" [", "<br>[");
      }
    });
  }

  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver(function (entries) {
      entries.filter((entry) => entry.isIntersecting).forEach(function (entry) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      });
    }, { rootMargin: "600px 0px" });
    drawings.forEach((box) => watcher.observe(box));
  } else {
    drawings.forEach(draw);
  }
  window.drawAll = () => Promise.all(drawings.map(draw));
  window.addEventListener("beforeprint", function () {
    window.drawAll();
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });

  function order(cell) {
    if (!cell.classList.contains("number")) { return cell.textContent; }
    return cell.dataset.order === "" ? null : Number(cell.dataset.order);
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a - b; }
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  }

  function sort(table, column, head) {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, key: order(row.cells[column]) }));
    const missing = rows.filter((entry) => entry.key === null);
    const found = rows.filter((entry) => entry.key !== null);
    found.sort((a, b) => (ascending ? 1 : -1) * compare(a.key, b.key));
    table.tBodies[0].append(...found.concat(missing).map((entry) => entry.row));
  }

  document.querySelectorAll("table").forEach(function (table) {
    Array.from(table.tHead.rows[0].cells).forEach(function (head, column) {
      const first = table.tBodies[0].rows[0];
      if (first && first.cells[column].classList.contains("number")) { head.classList.add("number"); }
      head.querySelector("button").addEventListener("click", () => sort(table, column, head));
    });
  });
}());
