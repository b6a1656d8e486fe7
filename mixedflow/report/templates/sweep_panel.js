"use strict";
// The fit of one trait: all that the table knows of it, and the call that makes it again.
(function (page) {
  const panel = document.getElementById("panel");
  const data = page.data, table = page.table, tests = page.tests, element = page.element;
  const PARTS = [["estimate", "Estimate"], ["se", "Std. error"], ["df", "df"], ["statistic", "t"], ["p", "p"], ["q", "q"]];
  const NAMES = { chisq: "χ²", p_mixture: "p (mixture)" };
  let back = null;

  function cellOf(name, i, source) {
    const one = (source || table).named.get(name);
    const cell = element("td", one ? page.shown(one, i) : "–", "number");
    if (one) cell.title = page.exact(one, i);
    return cell;
  }

  function known(name, i) {
    const one = table.named.get(name);
    return Boolean(one) && !Number.isNaN(one.number(i));
  }

  function tableOf(caption, head, rows) {
    const out = element("table");
    out.append(element("caption", caption));
    const top = element("tr");
    head.forEach(function (name, k) {
      const cell = element("th", name, k ? "number" : "");
      cell.scope = "col";
      top.append(cell);
    });
    const thead = element("thead"), tbody = element("tbody");
    thead.append(top);
    rows.forEach(function (cells) {
      const row = element("tr"), name = element("th", cells[0]);
      name.scope = "row";
      row.append(name);
      cells.slice(1).forEach(function (cell) { row.append(cell); });
      tbody.append(row);
    });
    out.append(thead, tbody);
    const holder = element("div", undefined, "scroll");
    holder.append(out);
    return holder;
  }

  function coefficients(i) {
    const names = data.coefficients.filter(function (name) { return known("estimate:" + name, i); });
    const parts = PARTS.filter(function (part) {
      return names.some(function (name) { return table.named.has(part[0] + ":" + name); });
    });
    const rows = names.map(function (name) {
      return [name].concat(parts.map(function (part) { return cellOf(part[0] + ":" + name, i); }));
    });
    return tableOf("Fixed effects", ["Coefficient"].concat(parts.map(function (part) { return part[1]; })), rows);
  }

  function values(caption, names, i) {
    const rows = names.filter(function (name) { return known(name, i); })
      .map(function (name) { return [name, cellOf(name, i)]; });
    return tableOf(caption, ["", "Value"], rows);
  }

  function state(i) {
    const error = table.named.get("error").text(i), flag = function (name) { return table.named.get(name).number(i) === 1; };
    if (error) return [(known("logLik", i) ? "" : "no fit: ") + error, "warning"];
    if (!flag("converged")) return ["not converged", "warning"];
    return flag("singular") ? ["converged, singular", "note"] : ["converged", "ok"];
  }

  // A name that is no plain word stands in backticks; the whole stands inside quotation marks.
  page.callOf = function (i) {
    const trait = table.named.get("trait").text(i), parts = page.callParts(i);
    if (trait.includes("`")) return "# a formula cannot name a column that holds a backtick: rename it first";
    const name = /^[A-Za-z_][A-Za-z0-9_.]*$/.test(trait) ? trait : "`" + trait + "`";
    return parts.before + JSON.stringify(name).slice(1, -1) + parts.after;
  };

  function testTable(i) {
    const trait = table.named.get("trait").text(i), names = tests.named.get("trait");
    if (!names || !tests.named.has("test")) return null;
    const subsets = tests.named.get("subset"), own = table.named.get("subset"), subset = own ? own.text(i) : "";
    const rows = [], notes = [], parts = ["chisq", "df", "p", "p_mixture", "q"].filter(function (name) { return tests.named.has(name); });
    const note = tests.named.get("note");
    for (let k = 0; k < tests.length; k++) {
      if (names.text(k) !== trait || (subsets && subsets.text(k) !== subset)) continue;
      const test = tests.named.get("test").text(k);
      if (note && note.text(k)) notes.push(test + ": " + note.text(k) + ".");
      rows.push([test].concat(parts.map(function (name) { return cellOf(name, k, tests); })));
    }
    if (!rows.length) return null;
    const holder = tableOf("Tests between models", ["Test"].concat(parts.map(function (name) { return NAMES[name] || name; })), rows);
    if (notes.length) holder.append(element("p", notes.join(" "), "table-note"));
    return holder;
  }

  function modelButtons(i) {
    const traits = table.named.get("trait"), holder = element("div", undefined, "models");
    const own = traits.text(i);
    for (let k = 0; k < table.length; k++) {
      if (traits.text(k) !== own) continue;
      const button = element("button", page.callParts(k).label);
      button.type = "button";
      button.setAttribute("aria-pressed", String(k === i));
      button.addEventListener("click", function () { page.showFit(k); });
      holder.append(button);
    }
    return holder.children.length > 1 ? holder : null;
  }

  function call(i) {
    const holder = element("div"), code = element("pre"), button = element("button", "Copy");
    holder.append(element("h3", "The same fit in Python"));
    code.append(element("code", page.callOf(i)));
    button.type = "button";
    button.addEventListener("click", function () {
      const range = document.createRange();
      range.selectNodeContents(code);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      document.execCommand("copy");
    });
    holder.append(code, button);
    return holder;
  }

  function close() {
    panel.hidden = true;
    page.markChosen(-1);
    if (back) back.focus({ preventScroll: true });
  }

  page.showFit = function (i, from) {
    if (from) back = from;
    const trait = table.named.get("trait").text(i), parts = page.callParts(i);
    const shut = element("button", "Close", "close"), ending = state(i);
    shut.type = "button";
    shut.addEventListener("click", close);
    const badge = element("p");
    badge.append(element("span", ending[0], "badge " + ending[1]));
    const formula = element("p", undefined, "formula");
    formula.append(element("code", parts.label + ": " + parts.formula));
    const fitted = known("logLik", i);
    const correlations = table.columns.map(function (one) { return one.name; })
      .filter(function (name) { return name.startsWith("cor:"); });
    const shown = [shut, element("h2", trait), modelButtons(i), badge, formula];
    if (fitted) {
      shown.push(coefficients(i));
      shown.push(values("Variance components", data.components.concat(correlations), i));
    }
    shown.push(testTable(i));
    shown.push(values("Criteria and search", ["n", "npar", "logLik", "deviance", "AIC", "BIC", "iterations", "seconds"], i));
    shown.push(call(i));
    panel.replaceChildren.apply(panel, shown.filter(Boolean));
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
    page.markChosen(i);
    page.showRow(i);
  };
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape" && !panel.hidden) close();
  });
})(window.sweepPage);
