"use strict";
// Draws two guests side by side from the JSON beside it: operation, layer, functions of one kernel and of the other.
(() => {
  const data = JSON.parse(document.getElementById("differences").textContent);
  const units = { instructions: "instructions", rep_bytes: "string bytes" };
  const height = 800, least = 2;
  const columns = [0, 20, 33, 66.5]; // percent: operation, layer, functions of either side

  function short(value) {
    if (value >= 1e6) return (value / 1e6).toLocaleString("en", { maximumSignificantDigits: 3 }) + " M";
    if (value >= 1e5) return (value / 1e3).toLocaleString("en", { maximumSignificantDigits: 3 }) + " k";
    return value.toLocaleString("en", value < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
  }

  // Who executes more, from -1 (only the base) to 1 (only the other).
  function colour(base, other) {
    const tilt = (other - base) / Math.max(base, other, 1e-9);
    const strength = Math.round(92 - 32 * Math.min(1, Math.abs(tilt)));
    return Math.abs(tilt) < 0.02 ? "#d5d8dd" : `hsl(${tilt > 0 ? 26 : 210}, 75%, ${strength}%)`;
  }

  function box(chart, column, top, size, text, title, fill, element = "div") {
    if (size < 0.5) return null;
    const made = document.createElement(element);
    made.className = "box";
    made.style.left = `${columns[column]}%`;
    made.style.width = `${(columns[column + 1] ?? 100) - columns[column]}%`;
    made.style.top = `${top}px`;
    made.style.height = `${size}px`;
    made.style.background = fill;
    made.title = title;
    made.textContent = size >= 13 ? text : "";
    chart.append(made);
    return made;
  }

  function draw(position) {
    const chart = document.getElementById(`difference-${position}`);
    const controls = document.querySelector(`[data-side="${position}"]`);
    const pair = data.pairs[position], cost = controls.querySelector(".counted").value;
    const scope = controls.querySelector(".scope").value, unit = units[cost] + (scope === "-1" ? "" : " per op");
    const all = pair.scopes[cost][scope] || [];
    const opened = all.filter(([name]) => data.names[name] === chart.dataset.opened);
    const shown = opened.length ? opened : all;
    chart.replaceChildren();
    const sum = (side) => shown.reduce((total, [, layers]) => total + layers.reduce((of, layer) => of + layer[side], 0), 0);
    const whole = shown.reduce((total, [, layers]) => total + layers.reduce((of, layer) => of + Math.max(layer[1], layer[2]), 0), 0);
    const heads = [opened.length ? "\u2190 all operations" : "operation", "layer",
                   `${pair.base}: ${short(sum(1))}`, `${pair.other}: ${short(sum(2))}`];
    heads.forEach((text, column) => {
      const head = box(chart, column, 0, 24, text, `${text} ${column > 1 ? unit : ""}`, "transparent",
                       column || !opened.length ? "div" : "button");
      head.classList.add("head");
      if (!column && opened.length) head.addEventListener("click", () => open(""));
    });
    if (!whole) {
      const none = document.createElement("p");
      none.className = "quiet";
      none.textContent = "Nothing was counted here.";
      chart.append(none);
      chart.style.height = "70px";
      return;
    }
    const scale = height / whole;
    let top = 26;

    function open(name) {
      chart.dataset.opened = name;
      draw(position);
    }

    function sides(base, other) {
      return `${pair.base} ${short(base)}, ${pair.other} ${short(other)} ${unit}`;
    }

    for (const [name, layers] of shown) {
      const start = top;
      const base = layers.reduce((total, layer) => total + layer[1], 0), other = layers.reduce((total, layer) => total + layer[2], 0);
      for (const [layer, mine, theirs, ...functions] of layers) {
        const size = Math.max(mine, theirs) * scale;
        box(chart, 1, top, size, data.names[layer], `${data.names[name]}, ${data.names[layer]}: ${sides(mine, theirs)}`,
            colour(mine, theirs));
        functions.forEach((list, side) => {
          const across = new Map(functions[1 - side]);
          let at = top;
          for (const [label, value] of list) {
            // What only one kernel has says nothing by itself: it takes the colour of its layer.
            const there = across.get(label), values = side ? [there ?? 0, value] : [value, there ?? 0];
            box(chart, 2 + side, at, value * scale, `${data.names[label]}  ${short(value)}`,
                `${data.names[label]}: ${sides(...values)}`,
                there === undefined ? colour(mine, theirs) : colour(...values));
            at += value * scale;
          }
        });
        top += size;
      }
      const made = box(chart, 0, start, top - start, `${data.names[name]}  ${short(base)} \u2192 ${short(other)}`,
                       `${data.names[name]}: ${sides(base, other)}`, colour(base, other), "button");
      if (made) made.addEventListener("click", () => open(opened.length ? "" : data.names[name]));
      if (top - start >= least) top += 1;
    }
    chart.style.height = `${top + 2}px`;
  }

  document.querySelectorAll("[data-side]").forEach((controls) => {
    const position = Number(controls.dataset.side);
    controls.querySelectorAll("select").forEach((select) => select.addEventListener("change", () => {
      document.getElementById(`difference-${position}`).dataset.opened = "";
      draw(position);
    }));
    draw(position);
  });
  document.querySelectorAll("button[data-beside]").forEach((button) => button.addEventListener("click", () => {
    const position = Number(button.dataset.beside), controls = document.querySelector(`[data-side="${position}"]`);
    controls.querySelector(".scope").value = button.dataset.phase;
    controls.querySelector(".counted").value = button.dataset.cost;
    document.getElementById(`difference-${position}`).dataset.opened = "";
    draw(position);
    document.getElementById(`side-${position}`).scrollIntoView();
    controls.querySelector(".scope").focus({ preventScroll: true });
  }));
})();
