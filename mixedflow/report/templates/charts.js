"use strict";
(function () {
  const specs = JSON.parse(document.getElementById("chart-specs").textContent);
  const font = getComputedStyle(document.body).fontFamily;
  const config = {
    font: font,
    background: "white",
    view: { stroke: "#d5dae0" },
    axis: {
      labelColor: "#3b4651", titleColor: "#1d252c", titleFontWeight: 600, titleFontSize: 12,
      labelFontSize: 11, gridColor: "#e9ecf0", domainColor: "#8a94a0", tickColor: "#8a94a0",
      titlePadding: 8, labelLimit: 130,
    },
    legend: { orient: "top", titleFontSize: 11, labelFontSize: 11, titleAnchor: "start" },
    range: { category: ["#1f5f99", "#b5500b", "#3f7d3a", "#7a4a9a", "#8a94a0"] },
  };
  function options(id) {
    return {
      renderer: "svg",
      config: config,
      downloadFileName: id,
      actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
      i18n: { CLICK_TO_VIEW_ACTIONS: "Save this chart" },
      tooltip: { theme: "light" },
    };
  }
  async function draw() {
    for (const id of Object.keys(specs)) {
      const place = document.getElementById(id);
      try {
        await window.vegaEmbed(place, specs[id], options(id));
      } catch (problem) {
        place.textContent = "This chart could not be drawn: " + problem;
      }
    }
    document.documentElement.dataset.charts = "drawn";
  }
  // Closed parts are printed too.
  let closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    closed.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (part) { part.open = false; });
  });
  draw();
})();
