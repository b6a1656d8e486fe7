"use strict";
// Volcano, quantiles of p-values, histogram: filled from the table for what is chosen.
(function (page) {
  const SMALLEST_KEPT = 15000, SMALLEST = 5e-324;
  const data = page.data, table = page.table;
  const views = {};
  const chosen = { row: -1 };
  const choice = {
    model: document.getElementById("choose-model"),
    coefficient: document.getElementById("choose-coefficient"),
    component: document.getElementById("choose-component"),
  };

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren.apply(select, names.map(function (name) {
      const option = page.element("option", name);
      option.value = name;
      return option;
    }));
    if (names.includes(before)) select.value = before;
    select.closest("label").hidden = names.length < 2 && select === choice.model;
  }

  const labels = data.variants.map(function (one) { return one.label; });
  function variantAt(label) { return labels.indexOf(label); }

  let chosenByReader = "";
  function isEffect(name) { return name !== "(Intercept)"; }

  function fillChoices() {
    const model = choice.model.value;
    const names = Object.keys(data.calibration[model] || {});
    const order = data.coefficients.filter(function (name) { return names.includes(name); });
    const before = chosenByReader;
    fill(choice.coefficient, order);
    if (order.includes(before)) choice.coefficient.value = before;
    else choice.coefficient.value = order.find(isEffect) || order[0] || "";
    const bins = data.histograms[model] || {};
    fill(choice.component, data.components.filter(function (name) { return name in bins; }));
  }

  function minusLog(p) { return -Math.log10(Math.max(p, SMALLEST)); }

  // The points of a coefficient, smallest p first.
  function points() {
    const name = choice.coefficient.value, model = choice.model.value;
    const x = table.named.get("estimate:" + name), p = table.named.get("p:" + name);
    const q = table.named.get("q:" + name), wanted = variantAt(model);
    const out = [];
    if (!p) return out;
    const traits = table.named.get("trait");
    for (let i = 0; i < table.length; i++) {
      const own = p.number(i);
      if (page.variant(i) !== wanted || !Number.isFinite(own)) continue;
      const corrected = q ? q.number(i) : NaN;
      out.push({
        row: i, trait: traits.text(i), x: x ? x.number(i) : NaN, y: minusLog(own), p: own, q: corrected,
        set: Number.isNaN(corrected) ? "no q" : corrected < 0.05 ? "q < 0.05" : "q ≥ 0.05",
      });
    }
    return out.sort(function (a, b) { return a.p - b.p || a.row - b.row; });
  }

  // The smallest p-values, and every k-th of the others.
  function thinned(all) {
    if (all.length <= 2 * SMALLEST_KEPT) return all;
    const step = Math.ceil((all.length - SMALLEST_KEPT) / SMALLEST_KEPT);
    return all.filter(function (one, k) { return k < SMALLEST_KEPT || (k - SMALLEST_KEPT) % step === 0; });
  }

  function put(key, sets) {
    const view = views[key];
    if (!view) return;
    for (const name of Object.keys(sets)) view.data(name, sets[name]);
    view.runAsync();
  }

  function note(key, text) { document.getElementById("note-" + key).textContent = text; }

  function mark(list) { return list.filter(function (one) { return one.row === chosen.row; }); }

  let current = [], quantiles = [];
  function drawPoints() {
    const name = choice.coefficient.value, model = choice.model.value;
    const all = points(), n = all.length;
    quantiles = all.map(function (one, k) {
      return { row: one.row, trait: one.trait, p: one.p, x: -Math.log10((k + 0.5) / n), y: one.y };
    });
    current = all.filter(function (one) { return Number.isFinite(one.x); });
    const drawn = thinned(current), drawnQuantiles = thinned(quantiles);
    const known = (data.calibration[model] || {})[name];
    const few = drawn.length === current.length ? "" : " " + drawn.length.toLocaleString("en-US") +
      " of them are drawn: the " + SMALLEST_KEPT.toLocaleString("en-US") +
      " with the smallest p, and of the others, by rank, ones that are evenly spaced.";
    const zero = n && all[0].p === 0 ? " p-values too small for double precision are drawn at the top." : "";
    const count = n.toLocaleString("en-US");
    if (!n) {
      note("volcano", "There are no p-values.");
      note("quantiles", "There are no p-values.");
    } else {
      note("volcano", name + ": estimates and p-values of " + count + " traits." + few + zero + " A click shows the trait's fit.");
      note("quantiles", name + ": " + count + " p-values, λ = " +
        (known && known.lambda !== null ? known.lambda.toFixed(3) : "–") +
        "; the band holds 95 % of each rank where nothing is there." + few);
    }
    put("volcano", { points: drawn, chosen: mark(current) });
    put("quantiles", { points: drawnQuantiles, band: known ? data.bands[String(known.n)] : [], chosen: mark(quantiles) });
  }

  function drawBins() {
    const name = choice.component.value;
    const bins = (data.histograms[choice.model.value] || {})[name];
    if (!bins) {
      note("histogram", "");
      put("histogram", { bins: [] });
      return;
    }
    const rows = bins.low.map(function (low, k) {
      return { low: low, high: bins.high[k], count: bins.count[k], last: k === bins.low.length - 1 };
    });
    const above = bins.above ? " The last bar holds " + bins.above.toLocaleString("en-US") + " that lie further right." : "";
    note("histogram", name + " over traits." + above + " A click on a bar finds its traits.");
    put("histogram", { bins: rows });
  }

  page.markChosen = function (row) {
    chosen.row = row;
    put("volcano", { chosen: mark(current) });
    put("quantiles", { chosen: mark(quantiles) });
  };

  function conditionOf(variant) {
    if (labels.length < 2) return "";
    let row = 0;
    while (page.variant(row) !== variant) row++;
    return ["model", "subset"].filter(function (name) { return table.named.has(name); })
      .map(function (name) { return name + " = " + JSON.stringify(table.named.get(name).text(row)) + " and "; }).join("");
  }

  function pick(key) {
    return function (event, item) {
      const datum = item && item.datum;
      if (!datum) return;
      if (key === "histogram") {
        const name = choice.component.value;
        const upper = datum.last ? "" : " and " + name + " < " + datum.high;
        const own = conditionOf(variantAt(choice.model.value));
        page.search(own + name + " >= " + datum.low + upper);
      } else if (datum.row !== undefined) {
        page.showFit(datum.row, document.getElementById("grid"));
      }
    };
  }

  const config = {
    font: getComputedStyle(document.body).fontFamily,
    background: "white",
    view: { stroke: "#d5dae0" },
    axis: {
      labelColor: "#3b4651", titleColor: "#1d252c", titleFontWeight: 600, titleFontSize: 12,
      labelFontSize: 11, gridColor: "#e9ecf0", domainColor: "#8a94a0", tickColor: "#8a94a0", titlePadding: 8,
    },
    legend: { orient: "top", labelFontSize: 11 },
  };

  async function make(key) {
    const place = document.getElementById("chart-" + key);
    try {
      const made = await window.vegaEmbed(place, data.specs[key], {
        renderer: "canvas", logLevel: 1, config: config, downloadFileName: "sweep-" + key, tooltip: { theme: "light" },
        actions: { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
        i18n: { CLICK_TO_VIEW_ACTIONS: "Save this chart" },
      });
      made.view.addEventListener("click", pick(key));
      views[key] = made.view;
    } catch (problem) {
      place.textContent = "This chart could not be drawn: " + problem;
    }
  }

  page.drawCharts = async function () {
    fill(choice.model, labels);
    const telling = labels.find(function (label) { return Object.keys(data.calibration[label]).some(isEffect); });
    if (telling) choice.model.value = telling;
    fillChoices();
    for (const key of ["volcano", "quantiles", "histogram"]) {
      await make(key);
      await new Promise(function (go) { setTimeout(go, 0); });
    }
    drawPoints();
    drawBins();
    document.documentElement.dataset.charts = "drawn";
  };
  choice.model.addEventListener("change", function () { fillChoices(); drawPoints(); drawBins(); });
  choice.coefficient.addEventListener("change", function () {
    chosenByReader = choice.coefficient.value;
    drawPoints();
  });
  choice.component.addEventListener("change", drawBins);
})(window.sweepPage);
