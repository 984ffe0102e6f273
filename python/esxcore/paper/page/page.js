"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displaylogo: false, showSendToCloud: false, responsive: true, displayModeBar: false };
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function faded(hex, part) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${part})`;
  }

  /* Gives a trace the colours of the ground the page is on. */
  function painted(trace) {
    const paint = colour(`tone-${trace.meta.tone}`);
    if (trace.meta.fill) return { ...trace, fillcolor: faded(paint, 0.6), line: { ...trace.line, color: paint } };
    if (trace.type === "bar") return { ...trace, marker: { color: paint } };
    return { ...trace, line: { ...trace.line, color: paint }, marker: { ...trace.marker, color: paint } };
  }

  function laidOut(layout) {
    const ink = colour("ink"), soft = colour("soft-ink"), grid = colour("grid");
    const own = { ...layout, font: { color: ink, size: 12.5 }, hoverlabel: { bgcolor: colour("card"), font: { color: ink } } };
    for (const name of Object.keys(own)) {
      if (/^[xy]axis/.test(name)) own[name] = { ...own[name], gridcolor: grid, linecolor: soft, tickfont: { color: soft } };
    }
    own.shapes = (layout.shapes ?? []).map((shape) => {
      if (!shape.name) return shape;
      const paint = colour(`tone-${shape.name}`);
      return { ...shape, line: { ...shape.line, color: paint }, fillcolor: faded(paint, 0.12), layer: "below" };
    });
    own.annotations = (layout.annotations ?? []).map((note) => ({ ...note, arrowcolor: ink, font: { ...note.font, color: ink } }));
    return own;
  }

  function drawAll() {
    for (const element of document.querySelectorAll(".chart")) {
      const { data, layout } = figures[element.dataset.figure];
      Plotly.react(element, data.map(painted), laidOut(layout), config);
    }
  }

  drawAll();
  dark.addEventListener("change", drawAll);
})();
