"use strict";
// Draws the flame graphs of a report from the JSON beside them: of one phase, a graph per guest, all on one scale.
(() => {
  const place = document.getElementById("flames-data");
  if (!place) return;
  const data = JSON.parse(place.textContent);
  const phase = document.getElementById("flame-phase");
  const charts = [...document.querySelectorAll(".flame")];
  const row = 18;

  function short(value) {
    return value.toLocaleString("en", value < 1000 ? { maximumSignificantDigits: 3 } : { maximumFractionDigits: 0 });
  }

  function trace(tree, title) {
    const labels = tree.labels.map((name, frame) => frame ? data.names[name] : title);
    const percent = (value) => (100 * value / tree.values[0]).toFixed(1) + " % of the phase";
    const below = tree.values.map(() => 0);
    tree.callers.forEach((caller, frame) => { if (caller >= 0) below[caller] += tree.values[frame]; });
    return {
      type: "icicle", ids: labels.map((_, frame) => String(frame)), labels: labels, values: tree.values,
      parents: tree.callers.map((caller) => caller < 0 ? "" : String(caller)), branchvalues: "total",
      hovertext: tree.values.map((value, frame) => `<b>${labels[frame]}</b><br>${short(value / tree.ops)} instructions per op, ` +
        `${percent(value)}` + (frame ? `<br>in itself, and in what is too small to show: ${short((value - below[frame]) / tree.ops)}` : "")),
      hoverinfo: "text", hoverlabel: { align: "left", bgcolor: "#fff", font: { color: "#111" } },
      texttemplate: "%{label}", textfont: { color: "#111", size: 11 }, textposition: "middle left",
      sort: false, leaf: { opacity: 1 }, tiling: { orientation: "v" }, pathbar: { visible: false },
      marker: { colors: tree.layers.map((layer) => data.colours[layer]), line: { width: 0.5, color: "rgba(255,255,255,.6)" } },
    };
  }

  function depth(tree) {
    const at = [];
    tree.callers.forEach((caller, frame) => { at[frame] = caller < 0 ? 1 : at[caller] + 1; });
    return at.reduce((one, other) => Math.max(one, other), 1);
  }

  function draw() {
    const trees = data.phases[Number(phase.value)];
    const most = Math.max(...trees.map((tree) => tree ? tree.values[0] / tree.ops : 0));
    charts.forEach((chart, guest) => {
      const tree = trees[guest];
      chart.hidden = !tree;
      chart.nextElementSibling.hidden = Boolean(tree);
      if (!tree) return;
      const one = trace(tree, phase.selectedOptions[0].textContent.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`));
      one.domain = { x: [0, tree.values[0] / tree.ops / most], y: [0, 1] };
      const layout = {
        height: row * depth(tree), margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
        uniformtext: { minsize: 10, mode: "hide" },
      };
      Plotly.react(chart, [one], layout, { displayModeBar: false, responsive: true });
    });
  }

  draw();
  phase.addEventListener("change", draw);
})();
