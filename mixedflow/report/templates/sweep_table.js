"use strict";
// The table: only the rows that are seen are in the document.
(function (page) {
  const ROW = 28, SPARE = 12, PRINTED = 200;
  const grid = document.getElementById("grid");
  const head = grid.querySelector("thead"), body = grid.querySelector("tbody");
  const widths = grid.querySelector("colgroup");
  const view = { rows: new Uint32Array(0), columns: [], sort: "", down: false, active: -1, whole: 0 };
  page.view = view;

  function element(tag, text, className) {
    const out = document.createElement(tag);
    if (text !== undefined) out.textContent = text;
    if (className) out.className = className;
    return out;
  }
  page.element = element;

  function width(one) {
    if (one.name === "trait") return 190;
    if (one.name === "error") return 210;
    return Math.min(220, Math.max(one.isText ? 110 : 98, 34 + 7.4 * one.name.length));
  }

  function drawHead() {
    widths.replaceChildren.apply(widths, view.columns.map(function (one) {
      const out = element("col");
      out.style.width = width(one) + "px";
      return out;
    }));
    const row = element("tr");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", "1");
    view.columns.forEach(function (one) {
      const cell = element("th", undefined, one.isText ? "" : "number");
      cell.setAttribute("role", "columnheader");
      const sorted = view.sort === one.name;
      cell.setAttribute("aria-sort", !sorted ? "none" : view.down ? "descending" : "ascending");
      const button = element("button", one.name + (sorted ? (view.down ? " ▼" : " ▲") : ""));
      button.type = "button";
      button.title = one.name;
      button.dataset.column = one.name;
      cell.append(button);
      row.append(cell);
    });
    head.replaceChildren(row);
    grid.setAttribute("aria-colcount", String(view.columns.length));
  }

  function space(count) {
    const row = element("tr", undefined, "space");
    row.setAttribute("aria-hidden", "true");
    const cell = element("td");
    cell.colSpan = Math.max(1, view.columns.length);
    cell.style.height = count * ROW + "px";
    row.append(cell);
    return row;
  }

  function rowOf(place) {
    const i = view.rows[place], error = page.table.named.get("error");
    const failed = error && error.text(i) !== "";
    const row = element("tr", undefined, (place === view.active ? "active" : "") + (failed ? " failed" : ""));
    row.id = "row-" + place;
    row.dataset.place = String(place);
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", String(place + 2));
    row.setAttribute("aria-selected", String(place === view.active));
    view.columns.forEach(function (one, k) {
      const text = page.shown(one, i);
      const cell = element(k === 0 ? "th" : "td", text, one.isText ? "" : "number");
      cell.setAttribute("role", k === 0 ? "rowheader" : "gridcell");
      cell.title = one.isText ? text : page.exact(one, i);
      row.append(cell);
    });
    return row;
  }

  function draw() {
    const seen = Math.ceil(grid.clientHeight / ROW) + 2 * SPARE;
    const first = view.whole ? 0 : Math.max(0, Math.min(
      Math.floor(grid.scrollTop / ROW) - SPARE, view.rows.length - seen));
    const last = Math.min(view.rows.length, view.whole || first + seen);
    const parts = [];
    if (first > 0) parts.push(space(first));
    for (let place = first; place < last; place++) parts.push(rowOf(place));
    if (last < view.rows.length && !view.whole) parts.push(space(view.rows.length - last));
    body.replaceChildren.apply(body, parts);
    grid.setAttribute("aria-rowcount", String(view.rows.length + 1));
    const shown = view.active >= first && view.active < last;
    if (shown) grid.setAttribute("aria-activedescendant", "row-" + view.active);
    else grid.removeAttribute("aria-activedescendant");
  }
  page.drawTable = draw;

  // What is searched, ordered and shown ----------------------------------------------------
  page.refresh = function (keep) {
    const chosen = keep && view.active >= 0 ? view.rows[view.active] : -1;
    const state = document.getElementById("search-state");
    const text = document.getElementById("search").value;
    try {
      const rows = page.select(page.table, text);
      view.rows = view.sort ? page.ordered(page.table, rows, view.sort, view.down) : rows;
      state.textContent = rows.length.toLocaleString("en-US") + " of " +
        page.table.length.toLocaleString("en-US") + " fits";
      state.classList.remove("wrong");
    } catch (problem) {
      state.textContent = problem.message;
      state.classList.add("wrong");
      return;
    }
    view.active = chosen < 0 ? -1 : view.rows.indexOf(chosen);
    grid.scrollTop = 0;
    drawHead();
    draw();
  };

  page.search = function (text) {
    document.getElementById("search").value = text;
    page.refresh(false);
    document.getElementById("table").scrollIntoView();
  };

  page.sortBy = function (name) {
    view.down = view.sort === name ? !view.down : false;
    view.sort = name;
    page.refresh(true);
    const button = Array.from(head.querySelectorAll("button")).find(function (one) {
      return one.dataset.column === name;
    });
    if (button) button.focus({ preventScroll: true });
  };

  page.setColumns = function (names) {
    view.columns = page.table.columns.filter(function (one) { return names.has(one.name); });
    drawHead();
    draw();
  };

  // Keys and clicks ------------------------------------------------------------------------
  function move(place) {
    if (!view.rows.length) return;
    view.active = Math.max(0, Math.min(view.rows.length - 1, place));
    const top = view.active * ROW, room = grid.clientHeight - 2 * ROW;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top > grid.scrollTop + room) grid.scrollTop = top - room;
    draw();
  }

  page.showRow = function (row) {
    const place = view.rows.indexOf(row);
    if (place >= 0) move(place);
  };

  grid.addEventListener("keydown", function (event) {
    if (event.target !== grid || event.ctrlKey || event.metaKey || event.altKey) return;
    const leaf = Math.max(1, Math.floor(grid.clientHeight / ROW) - 2);
    const steps = {
      ArrowDown: view.active + 1, ArrowUp: view.active - 1, Home: 0, End: view.rows.length - 1,
      PageDown: Math.max(0, view.active) + leaf, PageUp: view.active - leaf,
    };
    if (event.key in steps) {
      event.preventDefault();
      move(steps[event.key]);
    } else if ((event.key === "Enter" || event.key === " ") && view.active >= 0) {
      event.preventDefault();
      page.showFit(view.rows[view.active], grid);
    }
  });
  body.addEventListener("click", function (event) {
    const row = event.target.closest("tr[data-place]");
    if (!row || String(window.getSelection())) return;
    move(Number(row.dataset.place));
    page.showFit(view.rows[view.active], grid);
  });
  head.addEventListener("click", function (event) {
    const button = event.target.closest("button");
    if (button) page.sortBy(button.dataset.column);
  });
  let waiting = false;
  grid.addEventListener("scroll", function () {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(function () { waiting = false; draw(); });
  });
  window.addEventListener("resize", draw);

  // On paper: the first rows of what is shown.
  window.addEventListener("beforeprint", function () {
    view.whole = PRINTED;
    draw();
    const left = view.rows.length - PRINTED;
    document.getElementById("print-note").textContent = left > 0
      ? "The first " + PRINTED + " of " + view.rows.length.toLocaleString("en-US") + " rows." : "";
  });
  window.addEventListener("afterprint", function () {
    view.whole = 0;
    draw();
    document.getElementById("print-note").textContent = "";
  });
})(window.sweepPage);
