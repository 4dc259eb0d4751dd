// Draws the figures of the page with the plotly.js that the page carries. Without it (an old browser, no script, print)
// each figure's still picture or table stays.
(() => {
  "use strict";
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", unfold);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((folded) => { folded.open = true; }));
  unfold();

  const packed = document.getElementById("plotly"), specs = document.getElementById("figures");
  if (!packed || !specs || typeof DecompressionStream === "undefined") return;
  const touch = matchMedia("(pointer: coarse)").matches;
  const figures = JSON.parse(specs.textContent);

  // "var(--cool)" in a figure is the page's colour of that name, which is another one in the dark.
  const coloured = (spec) => {
    const style = getComputedStyle(document.documentElement);
    return JSON.parse(JSON.stringify(spec).replace(/var\((--[a-z]+)\)/g, (_, name) => style.getPropertyValue(name).trim()));
  };
  const axis = { gridcolor: "var(--line)", zerolinecolor: "var(--line)", linecolor: "var(--line)", automargin: true, zeroline: false, ticks: "", fixedrange: true };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 12, t: 12, b: 12 }, showlegend: false,
    dragmode: false, font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "var(--ink)" },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--bar)", font: { color: "var(--ink)" }, align: "left" },
  };
  const draw = (place, spec) => {
    const zoom = spec.layout.zoom && !touch;
    const layout = { ...base, ...spec.layout, dragmode: zoom ? "zoom" : false };
    for (const name of ["xaxis", "yaxis"]) layout[name] = { ...axis, ...layout[name], fixedrange: !(zoom && name === "xaxis") };
    place.style.minWidth = `${layout.least_px || 0}px`;
    delete layout.zoom;
    delete layout.least_px;
    return Plotly.react(place, coloured(spec.data), coloured(layout), { displayModeBar: false, responsive: true });
  };
  const picker = (figure, words, said, names, chosen, changed) => {
    const label = document.createElement("label"), select = document.createElement("select");
    label.className = "pick";
    label.append(words, select);
    select.setAttribute("aria-label", said);
    names.forEach((name, place) => select.add(new Option(name, place, place === chosen, place === chosen)));
    select.addEventListener("change", () => changed(Number(select.value)));
    figure.querySelector(".picks").append(label);
    return select;
  };

  // What one annotator said against the other, for the two that the reader picks here or in the matrix of kappas.
  const confusion = (figure, place, spec) => {
    const { names, labels, tables, first } = spec.confusions, chosen = [...first];
    const note = figure.querySelector(".note");
    const show = () => {
      const [i, j] = chosen, turned = i > j, table = tables[turned ? `${j},${i}` : `${i},${j}`];
      const z = table && (turned ? table[0].map((_, k) => table.map((row) => row[k])) : table);
      note.textContent = table ? "" : i === j ? "Choose two different annotators." : "These two share no pair.";
      const layout = { ...spec.layout, yaxis: { ...spec.layout.yaxis, title: { text: `${labels[i]} said`, standoff: 14 } }, xaxis: { ...spec.layout.xaxis, title: { text: `${labels[j]} said`, standoff: 10 } } };
      return draw(place, { data: [{ ...spec.data[0], z: z || [[0, 0, 0], [0, 0, 0], [0, 0, 0]] }], layout });
    };
    const selects = ["", "and"].map((words, k) => picker(figure, words, ["First annotator", "Second annotator"][k], names, chosen[k], (value) => { chosen[k] = value; show(); }));
    const matrix = document.querySelector('[data-figure="kappa"] .live');
    if (matrix && matrix.on) matrix.on("plotly_click", ({ points: [{ x, y }] }) => {
      if (x === y) return;
      [chosen[0], chosen[1]] = [y, x];
      selects.forEach((select, k) => { select.value = chosen[k]; });
      show();
    });
    return show;
  };

  const start = async (figure) => {
    const spec = figures[figure.dataset.figure], place = figure.querySelector(".live");
    if (!spec) return null;
    place.hidden = false;
    let now = spec.choices ? spec.choices[0] : spec, show = () => draw(place, now);
    if (spec.confusions) show = confusion(figure, place, spec);
    else if (spec.choices && spec.choices.length > 1) {
      picker(figure, "Show", "Show the figure", spec.choices.map((choice) => choice.label), 0, (k) => { now = spec.choices[k]; show(); });
    }
    await show();
    figure.classList.add("drawn");
    return show;
  };

  (async () => {
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
    const script = document.createElement("script");
    script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    document.head.append(script);
    if (typeof Plotly === "undefined") return;
    const shows = [];
    for (const figure of document.querySelectorAll("[data-figure]")) shows.push(await start(figure));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shows.forEach((show) => show && show()));
    document.documentElement.dataset.figures = "drawn";
  })();
})();
