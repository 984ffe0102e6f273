"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const drawn = new Set();
  const hidden = new Set();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse), (max-width: 760px)");
  const config = {
    displaylogo: false,
    showSendToCloud: false,
    responsive: true,
    modeBarButtonsToRemove: ["zoom2d", "pan2d", "select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };
  const states = ["high", "soft", "hard", "low"];
  const solid = { resident: 0.62, balloon: 0.85, swapped: 0.24, some: 0.75, full: 0.9 };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  /* Gives a trace the colours of the ground the page is on. */
  function painted(trace) {
    const { role, texts } = trace.meta;
    const own = { ...trace, visible: !hidden.has(role) };
    if (texts) own.text = Array.from(unpacked(trace.customdata), (at) => texts[at]);
    if (role.endsWith("-label")) {
      const ink = { soft: "soft-ink-on" }[role.slice(0, -6)] ?? `${role.slice(0, -6)}-ink`;
      own.textfont = { color: colour(ink), size: 12 };
    } else if (role === "decision") {
      own.marker = { ...trace.marker, color: colour("card"), line: { ...trace.marker.line, color: colour("target") } };
    } else if (role in solid || states.includes(role)) {
      const paint = colour(role);
      own.fillcolor = faded(paint, solid[role] ?? 1);
      own.line = { ...trace.line, color: paint };
      if (trace.fillpattern) {
        /* Layers are striped in their own colour, bands in that of the ground. */
        const stripe = role in solid ? paint : colour("card");
        const stripes = { fillmode: "overlay", bgcolor: own.fillcolor, fgcolor: stripe, fgopacity: 0.7, solidity: 0.25 };
        own.fillpattern = { ...trace.fillpattern, ...stripes };
      }
    } else {
      own.line = { ...trace.line, color: colour(role === "ops" ? "work" : role) };
      if (role === "reclaimed") own.fill = "tozeroy", own.fillcolor = faded(colour(role), 0.14);
      if (role === "ops") own.fill = "tozeroy", own.fillcolor = faded(colour("work"), 0.14);
    }
    return own;
  }

  function faded(hex, part) {
    const [red, green, blue] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},${part})`;
  }

  /* The numbers of an array, which plotly writes in base 64. */
  function unpacked(packed) {
    if (Array.isArray(packed)) return packed;
    const bytes = Uint8Array.from(atob(packed.bdata), (letter) => letter.charCodeAt(0));
    const kinds = { i1: Int8Array, i2: Int16Array, i4: Int32Array };
    return new kinds[packed.dtype](bytes.buffer);
  }

  function laid(layout, range) {
    const quiet = { gridcolor: colour("grid"), linecolor: colour("rule"), tickfont: { color: colour("soft-ink"), size: 11.5 } };
    const own = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, color: colour("ink"), size: 12 },
      hoverlabel: { ...layout.hoverlabel, bgcolor: colour("card"), bordercolor: colour("rule"), font: { color: colour("ink"), size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft-ink"), activecolor: colour("ink") },
      dragmode: coarse.matches ? false : "zoom",
    };
    for (const [name, axis] of Object.entries(layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      own[name] = { ...axis, ...quiet };
    }
    own.annotations = layout.annotations.map((unit) => ({ ...unit, font: { color: colour("soft-ink"), size: 11.5 } }));
    own.xaxis.spikecolor = colour("soft-ink");
    own.xaxis.nticks = coarse.matches ? 5 : layout.xaxis.nticks;
    if (range) own.xaxis.range = range;
    return own;
  }

  let span = null; /* what is looked at, where it is not all */

  function draw(chart) {
    const { data, layout } = figures[chart.dataset.figure];
    chart.style.minHeight = `${layout.height + 8}px`;
    const done = Plotly.react(chart, data.map(painted), laid(layout, span), config);
    if (drawn.has(chart)) return done;
    drawn.add(chart);
    const cursor = chart.appendChild(document.createElement("div"));
    cursor.className = "cursor";
    const readout = document.createElement("ul");
    readout.className = "readout";
    chart.after(readout);
    chart.on("plotly_relayout", (change) => look(chart, change));
    const tell = (event) => {
      point(chart, event.xvals?.[0] ?? event.points[0].x);
      readout.replaceChildren(...said(chart));
    };
    chart.on("plotly_hover", tell);
    chart.on("plotly_click", tell); /* a tap is a click and nothing else */
    chart.on("plotly_unhover", () => point(chart, null));
    return done;
  }

  /* One picture looks closer, and all do. */
  function look(from, change) {
    const range = change["xaxis.range"] ?? (("xaxis.range[0]" in change) ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null);
    const all = figures[from.dataset.figure].layout.xaxis.range;
    if (!range && !change["xaxis.autorange"]) return;
    const wanted = range ?? all;
    if (String(wanted) === String(span ?? all)) {
      if (!range) Plotly.relayout(from, { "xaxis.range": [...wanted] });
      return;
    }
    span = [...wanted];
    for (const chart of drawn) Plotly.relayout(chart, { "xaxis.range": [...wanted] });
  }

  /* What plotly's label says, as lines below the picture: on a phone the label would lie over all of it. */
  function said(chart) {
    const title = chart.querySelectorAll(".hoverlayer .legendtitletext");
    const upwards = [...chart.querySelectorAll(".hoverlayer .legendtext")].reverse();
    return [...title, ...upwards].map((text) => {
      const [first, ...more] = Array.from(text.querySelectorAll(".line"), (line) => line.textContent);
      const item = document.createElement("li");
      item.textContent = more.length ? `${first}: ${more.join(" ")}` : text.textContent;
      return item;
    });
  }

  /* A line at the time pointed at, in all the other pictures. */
  function point(from, time) {
    for (const chart of drawn) {
      const cursor = chart.querySelector(":scope > .cursor");
      const axis = chart._fullLayout?.xaxis;
      const shown = time !== null && chart !== from && axis && time >= axis.range[0] && time <= axis.range[1];
      cursor.style.display = shown ? "block" : "none";
      if (shown) cursor.style.left = `${axis._offset + axis.l2p(time)}px`;
    }
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const { role } = button.dataset;
      const show = hidden.delete(role) || !hidden.add(role);
      button.setAttribute("aria-pressed", String(show));
      for (const chart of drawn) draw(chart);
    });
  }

  /* Pictures are drawn when they come near the window: there may be hundreds. */
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) near.unobserve(target), draw(target);
    }
  }, { rootMargin: "900px 0px" });
  for (const chart of charts) {
    chart.style.minHeight = `${figures[chart.dataset.figure].layout.height + 8}px`;
    near.observe(chart);
  }

  const redraw = () => { for (const chart of drawn) draw(chart); };
  dark.addEventListener("change", redraw);
  coarse.addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
    for (const chart of charts) near.unobserve(chart), draw(chart);
  });
})();
