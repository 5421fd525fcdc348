/* Draws what the tables of figures say: orders as columns, money as a line. Without scripts the tables remain. */
"use strict";
(() => {
  const HEIGHT = 260;
  const drawn = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  /* Half of what a column stands for, s: the first and the last are drawn whole. */
  const HALF_S = { hour: 1800, day: 43200, week: 302400, month: 1296000 };

  /* As the tables write it: 2026-11-11, or 2026-11-11 09:00. */
  function label(said, at) {
    const whole = new Date(at * 1000).toLocaleString("sv-SE", { timeZone: said.zone });
    return whole.slice(0, said.unit === "hour" ? 16 : 10);
  }

  function options(said, width) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--edge"), width: 1 }, ticks: { stroke: colour("--edge") } };
    return {
      width, height: HEIGHT,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), said.zone),
      series: [
        { label: said.names[2], value: (_, at) => at === null ? "–" : label(said, at) },
        { label: said.names[0], scale: "orders", stroke: colour("--accent"), fill: colour("--accent"), paths: uPlot.paths.bars({ size: [0.7, 60] }), points: { show: false } },
        { label: said.names[1], scale: "money", stroke: colour("--amber"), width: 2 },
      ],
      scales: { x: { range: (_, least, most) => [least - HALF_S[said.unit], most + HALF_S[said.unit]] }, orders: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] }, money: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
      axes: [{ ...axis, values: (_, places) => places.map((at) => label(said, at).slice(5)), space: said.unit === "hour" ? 90 : 50 }, { ...axis, scale: "orders", size: 60 }, { ...axis, scale: "money", side: 1, size: 80, grid: { show: false } }],
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
