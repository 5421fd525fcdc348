/* Draws what the tables of figures say: orders as columns, money as a line. Without scripts the tables remain. */
"use strict";
(() => {
  const HEIGHT = 260;
  const drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function options(said, width) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { stroke: colour("--edge") } };
    return {
      width, height: HEIGHT,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), said.zone),
      series: [
        { value: (_, at) => at === null ? "–" : new Date(at * 1000).toLocaleString("sv-SE", said.unit === "hour"
          ? { timeZone: said.zone } : { timeZone: said.zone, dateStyle: "short" }) },
        { label: said.names[0], scale: "orders", stroke: colour("--accent"), fill: colour("--accent"), paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false } },
        { label: said.names[1], scale: "money", stroke: colour("--amber"), width: 2 },
      ],
      scales: { orders: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] }, money: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
      axes: [axis, { ...axis, scale: "orders", size: 60 }, { ...axis, scale: "money", side: 1, size: 80, grid: { show: false } }],
    };
  }

  function draw() {
    while (drawn.length) { drawn.pop().destroy(); }
    for (const place of document.querySelectorAll("[data-series]")) {
      const said = JSON.parse(place.dataset.series);
      drawn.push(new uPlot(options(said, place.clientWidth), [said.at, said.orders, said.gmv], place));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    draw();
    window.addEventListener("resize", draw);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  });
})();
