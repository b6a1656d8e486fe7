"use strict";
// The columns of the page, and what is asked of them: search, order, text.
window.sweepPage = {};
(function (page) {
  const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array };
  const OPERATORS = ["<=", ">=", "!=", "==", "<", ">", "=", "~"];
  const missing = "–";

  function bytes(text) {
    const raw = atob(text);
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }

  function numbers(packed, length) {
    if ("constant" in packed) return new Float64Array(length).fill(packed.constant);
    return new ARRAYS[packed.type](bytes(packed.data));
  }

  function column(packed, length) {
    const out = { name: packed.name, kind: packed.kind, type: packed.type || "" };
    if (packed.kind === "names") {
      out.text = function (i) { return packed.values[i]; };
    } else {
      const values = numbers(packed, length);
      out.number = function (i) { return values[i]; };
      if (packed.kind === "text") out.text = function (i) { return packed.levels[values[i]]; };
      if (packed.kind === "flag") out.text = function (i) { return values[i] ? "true" : "false"; };
    }
    out.isText = Boolean(out.text);
    return out;
  }

  page.unpack = function (packed) {
    const columns = packed.columns.map(function (one) { return column(one, packed.length); });
    const named = new Map(columns.map(function (one) { return [one.name, one]; }));
    return { length: packed.length, columns: columns, named: named };
  };

  // What is read, and what a file holds.
  page.shown = function (one, i) {
    return one.isText ? one.text(i) : page.readable(one.number(i), one.name);
  };
  page.readable = function (value, name) {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? missing : (value > 0 ? "∞" : "−∞");
    if (Number.isInteger(value) && Math.abs(value) < 1e9 && !/^(p|q|estimate|se):/.test(name)) {
      return value.toLocaleString("en-US").replace("-", "−");
    }
    const size = Math.abs(value);
    let text;
    if (value !== 0 && (size < 1e-4 || size >= 1e9)) text = value.toExponential(2);
    else if (/^[pq](:|$)/.test(name)) text = size < 0.001 ? value.toExponential(2) : value.toFixed(4);
    else if (size >= 1000) text = value.toFixed(2);
    else text = value.toPrecision(5);
    return text.replace(/-/g, "−");
  };
  page.exact = function (one, i) {
    if (one.isText) return one.text(i);
    const value = one.number(i);
    if (Number.isNaN(value)) return "";
    return one.type === "f4" ? String(Number(value.toPrecision(7))) : String(value);
  };

  // Search ---------------------------------------------------------------------------------
  function value(text) {
    let found = /^"((?:[^"\\]|\\.)*)"/.exec(text);
    if (found) return { value: found[1].replace(/\\(.)/g, "$1"), length: found[0].length };
    found = /^\S+/.exec(text);
    return found ? { value: found[0], length: found[0].length } : null;
  }

  function operatorAt(text) {
    const space = /^\s*/.exec(text)[0].length;
    const rest = text.slice(space);
    const sign = OPERATORS.find(function (one) { return rest.startsWith(one); });
    if (!sign) return null;
    const behind = /^\s*/.exec(rest.slice(sign.length))[0].length;
    return { sign: sign === "==" ? "=" : sign, length: space + sign.length + behind };
  }

  function compare(sign, number, wanted) {
    switch (sign) {
      case "<": return number < wanted;
      case "<=": return number <= wanted;
      case ">": return number > wanted;
      case ">=": return number >= wanted;
      case "=": return number === wanted || Math.fround(number) === Math.fround(wanted);
      default: return !(number === wanted || Math.fround(number) === Math.fround(wanted));
    }
  }

  function condition(one, sign, text) {
    const wanted = text.toLowerCase();
    if (one.isText) {
      if (sign === "~") return function (i) { return one.text(i).toLowerCase().includes(wanted); };
      if (sign === "=") return function (i) { return one.text(i).toLowerCase() === wanted; };
      if (sign === "!=") return function (i) { return one.text(i).toLowerCase() !== wanted; };
      throw new Error("“" + one.name + "” holds text; it takes =, != and ~.");
    }
    const number = Number(text.replace("−", "-"));
    if (sign === "~" || text === "" || Number.isNaN(number)) {
      throw new Error("“" + one.name + "” holds numbers; “" + sign + " " + text + "” is none to compare with.");
    }
    return function (i) { return compare(sign, one.number(i), number); };
  }

  // Column names may hold spaces and operators: the longest that fits is meant.
  function conditionAt(table, text, byLength) {
    for (const one of byLength) {
      if (text.slice(0, one.name.length).toLowerCase() !== one.name.toLowerCase()) continue;
      const sign = operatorAt(text.slice(one.name.length));
      if (!sign) continue;
      const start = one.name.length + sign.length;
      const wanted = value(text.slice(start));
      if (!wanted) throw new Error("“" + one.name + " " + sign.sign + "” lacks a value.");
      return { test: condition(one, sign.sign, wanted.value), length: start + wanted.length };
    }
    return null;
  }

  page.query = function (table, text) {
    const byLength = table.columns.slice().sort(function (a, b) { return b.name.length - a.name.length; });
    const traits = table.named.get("trait");
    const tests = [];
    let rest = text.trim();
    while (rest) {
      const found = conditionAt(table, rest, byLength);
      if (found) {
        tests.push(found.test);
        rest = rest.slice(found.length);
      } else {
        const word = value(rest);
        rest = rest.slice(word.length);
        if (operatorAt(rest) || /^[^\s"<>=!~]+(<|>|=|~|!=)/.test(word.value)) {
          throw new Error("There is no column “" + word.value.split(/[<>=!~]/)[0] + "” to compare.");
        }
        const part = word.value.toLowerCase();
        tests.push(function (i) { return traits.text(i).toLowerCase().includes(part); });
      }
      rest = rest.trim().replace(/^(and\b|&&|&)\s*/i, "");
    }
    return function (i) { return tests.every(function (test) { return test(i); }); };
  };

  page.select = function (table, text) {
    const test = page.query(table, text);
    const out = new Uint32Array(table.length);
    let n = 0;
    for (let i = 0; i < table.length; i++) if (test(i)) out[n++] = i;
    return out.subarray(0, n);
  };

  // Order ----------------------------------------------------------------------------------
  function ranks(table, one) {
    if (one.rank) return one.rank;
    const order = Array.from({ length: table.length }, function (_, i) { return i; });
    const texts = order.map(one.text);
    const collator = new Intl.Collator("en", { numeric: true });
    order.sort(function (a, b) { return collator.compare(texts[a], texts[b]); });
    one.rank = new Float64Array(table.length);
    order.forEach(function (row, k) {
      const same = k > 0 && texts[order[k - 1]] === texts[row];
      one.rank[row] = same ? one.rank[order[k - 1]] : k;
    });
    return one.rank;
  }

  // What is missing stands last, whichever way; equal values keep the order of the table.
  page.ordered = function (table, rows, name, down) {
    const one = table.named.get(name);
    const out = Uint32Array.from(rows).sort();
    const rank = one.isText ? ranks(table, one) : null;
    const at = rank ? function (i) { return rank[i]; } : one.number;
    const keys = new Float64Array(table.length);
    for (const i of out) keys[i] = at(i);
    return out.sort(function (a, b) {
      const x = keys[a], y = keys[b];
      if (x === y) return a - b;
      if (Number.isNaN(x)) return Number.isNaN(y) ? a - b : 1;
      if (Number.isNaN(y)) return -1;
      return (x < y) === down ? 1 : -1;
    });
  };

  // File -----------------------------------------------------------------------------------
  function cell(text) {
    return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }
  page.csv = function (columns, rows) {
    const lines = [columns.map(function (one) { return cell(one.name); }).join(",")];
    for (const i of rows) {
      lines.push(columns.map(function (one) { return cell(page.exact(one, i)); }).join(","));
    }
    return lines.join("\r\n") + "\r\n";
  };

  page.data = JSON.parse(document.getElementById("sweep-data").textContent);
  page.table = page.unpack(page.data.table);
  page.variant = page.unpack({ length: page.data.table.length, columns: [page.data.variant] }).columns[0].number;
  page.callParts = function (i) { return page.data.variants[page.variant(i)]; };
  page.tests = page.unpack(page.data.tests);
})(window.sweepPage);
