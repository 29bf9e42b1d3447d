"use strict";
(() => {
  const {lines, plots} = JSON.parse(document.getElementById("plots").textContent);
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;  // A finger scrolls the page.
  const hidden = new Set();
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  // Plotly reads some tags in names, but these are to be shown as they are.
  const plain = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  const value = "%{y:.4g}";

  function traces(curve) {
    const line = lines[curve.arm];
    const color = isDark() ? line.dark : line.color;
    const base = {x: curve.x, type: "scatter", visible: !hidden.has(curve.arm)};
    const silent = {...base, hoverinfo: "skip", showlegend: false, mode: "lines"};
    const name = plain(line.name);
    if (curve.paper) {
      const style = {color, dash: "dash", width: 1.2};
      return [{...base, y: curve.y, mode: "lines", name: `paper: ${name}`,
               opacity: 0.65, line: style, hovertemplate: value}];
    }
    const mode = curve.x.length <= 30 ? "lines+markers" : "lines";
    const marker = {color, size: 5};
    const main = {...base, y: curve.y, mode, name, marker, hovertemplate: value,
                  line: {color, dash: line.dash, width: 2}};
    if (!curve.count) return [main];
    const most = Math.max(...curve.count);
    const edge = {...silent, line: {width: 0}};
    const found = [
      {...edge, y: curve.low},
      {...edge, y: curve.high, fill: "tonexty", fillcolor: `${color}1c`},
    ];
    for (const {x, y} of curve.seeds) {
      found.push({...silent, x, y, opacity: 0.5, line: {color, dash: line.dash, width: 0.7}});
    }
    if (Math.min(...curve.count) < most) {
      // Thin where some of the runs have ended.
      const full = curve.y.map((y, at) => (curve.count[at] === most ? y : null));
      found.push({...silent, y: full, line: main.line});
      main.line = {...main.line, width: 0.8};
    }
    main.customdata = curve.x.map((_, at) => [curve.low[at], curve.high[at], curve.count[at]]);
    main.hovertemplate = curve.x.map((_, at) =>
      curve.low[at] === null ? value
        : `${value} (%{customdata[0]:.4g} to %{customdata[1]:.4g}, %{customdata[2]} seeds)`);
    return [...found, main];
  }

  const decades = Array.from({length: 24}, (_, at) => at - 12);
  const ticks = decades.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  const logarithmic = {type: "log", tickmode: "array", tickvals: ticks, ticktext: ticks.map(String)};

  function layout(plot) {
    const style = getComputedStyle(document.body);
    const color = style.color;
    const quiet = isDark() ? "#9ba5b1" : "#58616d";
    const grid = isDark() ? "#343b46" : "#e3e7ec";
    const axis = {gridcolor: grid, linecolor: grid, zeroline: false, automargin: true};
    return {
      margin: {l: 40, r: 12, t: 30, b: 40},
      font: {family: style.fontFamily, size: 12, color},
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      showlegend: false, hovermode: "x unified",
      hoverlabel: {bgcolor: isDark() ? "#242a33" : "#ffffff", bordercolor: grid, font: {color}, namelength: -1},
      modebar: {bgcolor: "transparent", color: quiet, activecolor: color},
      dragmode: touch ? false : "zoom",
      xaxis: {...axis, spikecolor: quiet, spikethickness: 1, spikedash: "dot", title: {text: plot.x, standoff: 8}, tickformat: "~s", hoverformat: ",.0f"},
      // Of the curves: the bands of few seeds may be far wider.
      yaxis: {...axis, range: plot.log ? plot.range.map(Math.log10) : plot.range, exponentformat: "none", ...(plot.log ? logarithmic : {nticks: 6})},
    };
  }

  function draw(figure) {
    const plot = plots[figure.dataset.plot];
    figure.classList.add("drawn");
    Plotly.react(figure.querySelector(".live"), plot.curves.flatMap(traces), layout(plot), {
      responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
      // Without the button that sends a chart to Plotly's server.
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], plotlyServerURL: "",
    });
  }

  const redraw = () => document.querySelectorAll(".chart.drawn").forEach(draw);
  const watch = new IntersectionObserver((entries) => {
    for (const {isIntersecting, target} of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      draw(target);
    }
  }, {rootMargin: "600px"});
  document.querySelectorAll(".chart").forEach((figure) => watch.observe(figure));

  document.addEventListener("click", ({target}) => {
    const chip = target.closest("[data-arm]");
    if (!chip) return;
    const arm = Number(chip.dataset.arm);
    if (!hidden.delete(arm)) hidden.add(arm);
    for (const other of document.querySelectorAll(`[data-arm="${arm}"]`)) {
      other.setAttribute("aria-pressed", String(!hidden.has(arm)));
    }
    redraw();
  });

  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    redraw();
  });
  dark.addEventListener("change", redraw);

  const zoom = document.getElementById("zoom");
  document.addEventListener("click", ({target}) => {
    const image = target.closest(".frame")?.querySelector("img");
    if (!image) return;
    const shown = zoom.querySelector("img");
    shown.src = image.src;
    shown.alt = image.alt;
    shown.classList.toggle("pixels", Boolean(image.closest(".videos")));
    zoom.querySelector("p").textContent = image.alt;
    zoom.showModal();
  });
  zoom.addEventListener("click", ({target}) => { if (target === zoom) zoom.close(); });

  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open], .aside)")) part.open = true;
  });
})();
