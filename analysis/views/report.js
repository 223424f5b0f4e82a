"use strict";
// Draws the icicles of a report from the JSON beside them; all charts show the same place in the tree.
(() => {
  const data = JSON.parse(document.getElementById("icicles").textContent);
  const phase = document.getElementById("phase");
  const cost = document.getElementById("cost");
  const charts = [...document.querySelectorAll(".chart")];
  const units = { instructions: "instructions", rep_bytes: "string bytes" };
  let level = "all";

  function short(value) {
    return value.toLocaleString("en", value < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
  }

  function percent(part, whole) {
    return (100 * part / whole).toFixed(1) + " %";
  }

  // Every phase is as high as any other: their ops are different things, so that only shares of a phase can be seen.
  function trace(tree, unit) {
    const labels = tree.labels.map((name) => data.names[name]);
    const ids = [], hover = [], inner = new Set(tree.parents), taken = new Set(), top = [];
    tree.parents.forEach((parent, node) => {
      const value = tree.values[node];
      top[node] = parent <= 0 ? node : top[parent];
      let id = parent < 0 ? "all" : `${ids[parent]}/${parent ? labels[node] : tree.phases[node]}`;
      if (taken.has(id)) id += `#${node}`; // names that differ only in characters that are not shown
      taken.add(id);
      ids[node] = id;
      if (parent < 0) {
        hover[node] = "all phases, each at the same height";
        return;
      }
      let text = `<b>${labels[node]}</b><br>${short(value)} ${unit} per op`;
      if (parent > 0) text += `<br>${percent(value, tree.values[parent])} of ${labels[parent]}`;
      if (parent > 0 && top[node] !== parent) text += `, ${percent(value, tree.values[top[node]])} of the phase`;
      const calls = tree.calls[node];
      if (calls !== null) text += `<br>entries per op: ${short(calls)}`;
      if (calls) text += `, ${short(value / calls)} each`;
      hover[node] = text;
    });
    return {
      type: "icicle", ids: ids, labels: labels, parents: tree.parents.map((parent) => parent < 0 ? "" : ids[parent]),
      values: tree.values.map((value, node) => inner.has(node) ? 0 : value / tree.values[top[node]]),
      text: tree.values.map((value, node) => node ? short(value) : ""), texttemplate: "%{label}  %{text}",
      textfont: { color: "#111", size: 11 }, textposition: "middle left",
      hovertext: hover, hoverinfo: "text", hoverlabel: { align: "left", bgcolor: "#fff", font: { color: "#111" } },
      sort: false, leaf: { opacity: 1 }, maxdepth: 4, tiling: { orientation: "h" },
      pathbar: { thickness: 24, textfont: { color: "#111", size: 12 } },
      marker: { colors: tree.layers.map((layer) => data.colours[layer]), line: { width: 0.5, color: "rgba(255,255,255,.5)" } },
    };
  }

  // Small parts of one guest may be folded on another: then its chart stays at what is above them.
  function nearest(ids, wanted) {
    while (!ids.includes(wanted) && wanted.includes("/")) wanted = wanted.slice(0, wanted.lastIndexOf("/"));
    return wanted;
  }

  function draw() {
    const trees = data.guests.map((guest) => guest[cost.value]);
    const traces = trees.map((tree) => trace(tree, units[cost.value]));
    traces.forEach((one) => { one.level = nearest(one.ids, level); });
    // Where all charts show the same thing they have one scale, so that heights can be compared as well.
    const shown = traces.map((one, guest) => trees[guest].values[one.ids.indexOf(one.level)]);
    const above = level === "all" ? 0 : 28; // the bar that leads back
    const alike = level !== "all" && traces.every((one) => one.level === level);
    charts.forEach((chart, guest) => {
      const none = trees[guest].parents.length === 1 || (level !== "all" && traces[guest].level === "all");
      chart.hidden = none;
      chart.nextElementSibling.hidden = !none;
      if (none) return;
      const layout = {
        height: above + (alike ? Math.max(24, 720 * shown[guest] / Math.max(...shown)) : data.height),
        margin: { l: 0, r: 0, t: above, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", uniformtext: { minsize: 10, mode: "hide" },
      };
      Plotly.react(chart, [traces[guest]], layout, { displayModeBar: false, responsive: true });
      if (chart.listens) return;
      chart.listens = true;
      chart.on("plotly_icicleclick", (event) => {
        if (event.nextLevel !== undefined) show(event.nextLevel || "all");
        return false;
      });
    });
  }

  function show(wanted) {
    level = wanted;
    phase.value = level.split("/")[1] || "";
    draw();
  }

  draw();
  document.querySelectorAll("th > a").forEach((link) => link.addEventListener("click", () => {
    document.querySelector(link.hash).closest("details").open = true;
  }));
  phase.addEventListener("change", () => show(phase.value ? `all/${phase.value}` : "all"));
  cost.addEventListener("change", draw);
  document.querySelectorAll("button[data-phase]:not([data-beside])").forEach((button) => button.addEventListener("click", () => {
    cost.value = button.dataset.cost;
    show(`all/${button.dataset.phase}`);
    document.getElementById("charts").scrollIntoView();
    phase.focus({ preventScroll: true });
  }));
})();
