"use strict";
// What is shown at first, and what the reader changes of it.
(function (page) {
  const data = page.data, table = page.table, element = page.element;
  const FEW = 4;
  const usual = new Set(["trait", "n", "icc", "sigma"]);
  if (document.querySelector("[data-query]")) usual.add("error");
  ["model", "subset"].forEach(function (name) {
    const one = table.named.get(name);
    if (one && data.variants.length > 1) usual.add(name);
  });
  const effects = data.coefficients.filter(function (name) { return name !== "(Intercept)"; });
  (effects.length ? effects : data.coefficients).slice(0, FEW).forEach(function (name) {
    ["estimate:", "p:", "q:"].forEach(function (part) { usual.add(part + name); });
  });
  let wanted = new Set(usual);

  function groupOf(name) {
    const found = /^(estimate|se|df|statistic|p|q):(.*)$/s.exec(name);
    if (found) return found[2];
    return /^(icc|sigma|sd:|cor:)/.test(name) ? "Variance components" : "Fit";
  }

  function boxes() {
    const groups = new Map();
    table.columns.forEach(function (one) {
      const name = groupOf(one.name);
      if (!groups.has(name)) {
        const group = element("fieldset");
        group.append(element("legend", name));
        groups.set(name, group);
      }
      const label = element("label"), box = element("input");
      box.type = "checkbox";
      box.checked = wanted.has(one.name);
      box.disabled = one.name === "trait";
      box.addEventListener("change", function () {
        if (box.checked) wanted.add(one.name); else wanted.delete(one.name);
        page.setColumns(wanted);
      });
      label.append(box, " " + one.name);
      groups.get(name).append(label);
    });
    const holder = document.getElementById("column-boxes");
    holder.replaceChildren.apply(holder, Array.from(groups.values()));
  }

  document.getElementById("column-choice").addEventListener("click", function (event) {
    const which = event.target.dataset.columns;
    if (!which) return;
    wanted = which === "all" ? new Set(table.columns.map(function (one) { return one.name; })) : new Set(usual);
    boxes();
    page.setColumns(wanted);
  });
  document.getElementById("failures").addEventListener("click", function (event) {
    const text = event.target.dataset.query;
    if (text) page.search(text);
  });

  let timer = 0;
  document.getElementById("search").addEventListener("input", function () {
    clearTimeout(timer);
    timer = setTimeout(function () { page.refresh(false); }, 120);
  });
  document.getElementById("download").addEventListener("click", function () {
    const text = page.csv(page.view.columns, page.view.rows);
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = data.file;
    link.click();
    setTimeout(function () { URL.revokeObjectURL(link.href); }, 1000);
  });

  const first = effects[0] || data.coefficients[0];
  document.getElementById("example-small").textContent = first ? "p:" + first + " < 1e-6" : "n > 10";
  boxes();
  page.view.columns = table.columns.filter(function (one) { return wanted.has(one.name); });
  page.refresh(false);
  document.documentElement.dataset.table = "drawn";
})(window.sweepPage);
