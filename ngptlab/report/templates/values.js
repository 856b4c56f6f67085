// Values beside the pointer: of every method, the point nearest to it, as a line over the chart and a note. The arrow keys move
// from point to point. `data-values` of the figures has lists of numbers; a chart's curves name theirs by place.
const FIGURES = document.querySelector("[data-values]");
const LISTS = FIGURES ? JSON.parse(FIGURES.dataset.values) : [];
const [LEFT, RIGHT, TOP, BOTTOM] = FIGURES ? JSON.parse(FIGURES.dataset.frame) : [];

function shortened(value, digits) {
  return value.toLocaleString("en", { maximumSignificantDigits: digits });
}

function fixed(value) {
  return (value !== 0 && Math.abs(value) < 0.01 ? value.toPrecision(3) : value.toFixed(4)).replace("-", "−");
}

for (const chart of document.querySelectorAll(".chart")) {
  const figure = chart.closest("figure");
  const names = [...figure.querySelectorAll(".legend li")];
  const [low, high] = JSON.parse(chart.dataset.x);
  const [bottom, top] = JSON.parse(chart.dataset.y);
  const scale = chart.dataset.form === "linear" ? (x) => x : Math.log;
  const across = (x) => LEFT + (RIGHT - LEFT) * (scale(x) - scale(low)) / (scale(high) - scale(low));
  const down = (y) => BOTTOM - (BOTTOM - TOP) * (y - bottom) / (top - bottom);
  const curves = JSON.parse(chart.dataset.curves).map(([method, x, y, half]) => (
    { method, x: LISTS[x], y: LISTS[y], half: half === null ? null : LISTS[half], places: LISTS[x].map(across) }));
  const stops = [...new Set(curves.flatMap((curve) => curve.x))].filter((x) => x >= low && x <= high).sort((a, b) => a - b);
  if (stops.length === 0) continue;
  const unit = figure.querySelector(`input[name$="-axis"][value="${chart.dataset.axis}"] + label`)?.textContent ?? "position";
  const line = document.createElement("i");
  const note = document.createElement("div");
  line.className = "at";
  line.style.cssText = `top: ${100 * TOP}%; height: ${100 * (BOTTOM - TOP)}%`;
  note.className = "values";
  note.setAttribute("role", "status");
  let dots = [];
  let stop = -1;

  const nearest = (list, value) => list.reduce((best, each, i) => Math.abs(each - value) < Math.abs(list[best] - value) ? i : best, 0);
  const hide = () => [line, note, ...dots].forEach((element) => element.remove());
  const show = (index) => {
    hide();
    stop = index;
    const place = across(stops[stop]);
    line.style.left = `${100 * place}%`;
    note.replaceChildren(`${shortened(stops[stop], 6)} ${unit}`);
    dots = [];
    for (const curve of curves) {
      const i = nearest(curve.places, place);
      const row = document.createElement("span");
      const half = curve.half === null ? "" : ` ± ${fixed(curve.half[i])}`;
      const apart = Math.abs(curve.places[i] - place) > 0.01 ? ` (at ${shortened(curve.x[i], 6)})` : "";
      row.append(names[curve.method].querySelector(".key").cloneNode(true), names[curve.method].querySelector("bdi").textContent,
        ` ${fixed(curve.y[i])}${half}${apart}`);
      note.append(row);
      const height = down(curve.y[i]);
      if (height < TOP || height > BOTTOM) continue;
      const dot = document.createElement("i");
      dot.className = "dot";
      dot.style.cssText = `left: ${100 * curve.places[i]}%; top: ${100 * height}%; background: var(--series-${curve.method % 7})`;
      dots.push(dot);
    }
    note.classList.toggle("left", place > 0.6);
    chart.append(line, ...dots, note);
  };
  const follow = (event) => {
    const box = chart.getBoundingClientRect();
    show(nearest(stops.map(across), (event.clientX - box.left) / box.width));
  };
  chart.tabIndex = 0;
  chart.addEventListener("pointermove", follow);
  chart.addEventListener("pointerdown", follow);
  chart.addEventListener("pointerleave", hide);
  chart.addEventListener("blur", hide);
  chart.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (step === undefined) return;
    event.preventDefault();
    show(Math.min(stops.length - 1, Math.max(0, stop < 0 ? (step > 0 ? 0 : stops.length - 1) : stop + step)));
  });
}

