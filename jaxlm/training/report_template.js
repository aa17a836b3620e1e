
"use strict";
// Draws the curves of the report. Everything variable reaches the page through textContent or numbers, never as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const data = JSON.parse(document.getElementById("report-data").textContent);

  const element = (name, attributes = {}, text) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const shape = (parent, name, attributes, text) => {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };

  const number = (value, digits = 5) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(digits - 2).replace(/\.?0*e\+?/, "e");
    return Number(value.toPrecision(digits)).toLocaleString("en-US", { maximumFractionDigits: 10 });
  };
  const short = (value) => {
    const size = Math.abs(value);
    if (size >= 1e13) return value.toExponential(1).replace(".0e", "e").replace("+", "");
    for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
      if (size >= factor) return Number((value / factor).toPrecision(4)) + prefix;
    return size !== 0 && size < 1e-3 ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(4)));
  };

  // Round positions for ticks: 1, 2 or 5 times a power of ten apart, or the powers themselves on a long log axis.
  const ticks = (low, high, count, log) => {
    if (log && high / low > 12) {
      const decades = Math.log10(high / low), found = [];
      const factors = decades > 1.2 * count ? [1] : decades > count / 2.2 ? [1] : decades > count / 4 ? [1, 3] : [1, 2, 5];
      const stride = Math.max(1, Math.ceil(decades / count));
      for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
        if (power % stride === 0)
          for (const factor of factors) {
            const value = Number(`${factor}e${power}`);
            if (value >= low && value <= high) found.push(value);
          }
      return found;
    }
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-12); k++) found.push(Number((k * step).toPrecision(12)));
    return found;
  };

  const scale = (low, high, from, to, log) => {
    const map = log ? Math.log : (value) => value;
    const a = map(low), b = map(high);
    return (value) => from + ((map(value) - a) / (b - a)) * (to - from);
  };

  // Exponential moving average, corrected for its start at nothing, from both ends so that it does not lag behind.
  const smoothed = (values, weight) => {
    const oneWay = (ordered) => {
      let sum = 0, total = 0;
      return ordered.map((value) => {
        sum = weight * sum + (1 - weight) * value;
        total = weight * total + (1 - weight);
        return sum / total;
      });
    };
    const forward = oneWay(values), backward = oneWay([...values].reverse()).reverse();
    return forward.map((value, i) => (value + backward[i]) / 2);
  };

  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] < x) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  };

  const chart = (figure, spec) => {
    const plot = figure.querySelector(".plot");
    const state = { logX: false, logY: false, smoothing: spec.smoothing || 0, step: null };
    const tip = element("div", { class: "tip", hidden: "" });
    const spoken = element("div", { class: "unseen", "aria-live": "polite" });
    let view = null;

    const domain = (values, log) => {
      const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
      let low = Infinity, high = -Infinity;
      for (const value of usable) { low = Math.min(low, value); high = Math.max(high, value); }
      if (low === high) return log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
      return [low, high];
    };
    const padded = ([low, high], log) => {
      if (log) { const margin = (high / low) ** 0.04; return [low / margin, high * margin]; }
      const margin = (high - low) * 0.05;
      return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
    };

    const draw = () => {
      const width = Math.max(plot.clientWidth, 200), height = figure.classList.contains("wide") ? 320 : 190;
      const box = { left: 62, right: width - 10, top: 8, bottom: height - 38 };
      const svg = document.createElementNS(SVG, "svg");
      for (const [key, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.label, tabindex: "0" }))
        svg.setAttribute(key, value);
      const xs = domain(spec.series.flatMap((series) => series.x), state.logX);
      const ys = padded(domain(spec.series.flatMap((series) => [...series.y, ...(series.low || []), ...(series.high || [])]), state.logY), state.logY);
      const x = scale(xs[0], xs[1], box.left, box.right, state.logX), y = scale(ys[0], ys[1], box.bottom, box.top, state.logY);
      const fits = (px, py) => (!state.logX || px > 0) && (!state.logY || py > 0);

      for (const value of ticks(ys[0], ys[1], height / 40, state.logY)) {
        shape(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) });
        shape(svg, "text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, short(value));
      }
      let edge = -Infinity;
      for (const value of ticks(xs[0], xs[1], width / 75, state.logX)) {
        if (value % 1) continue; // steps are whole
        const label = short(value), half = label.length * 3.4, at = Math.min(Math.max(x(value), box.left), width - half);
        if (at - half < edge) continue;
        edge = at + half + 8;
        shape(svg, "line", { class: "axis", x1: x(value), x2: x(value), y1: box.bottom, y2: box.bottom + 4 });
        shape(svg, "text", { x: at, y: box.bottom + 17, "text-anchor": "middle" }, label);
      }
      shape(svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
      const middle = (box.top + box.bottom) / 2;
      shape(svg, "text", { class: "name", x: (box.left + box.right) / 2, y: height - 5, "text-anchor": "middle" }, "step");
      shape(svg, "text", { class: "name", x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, spec.axis);

      const path = (series, values) => {
        let text = "";
        series.x.forEach((px, i) => {
          if (fits(px, values[i])) text += `${text ? "L" : "M"}${x(px).toFixed(1)} ${y(values[i]).toFixed(1)}`;
        });
        return text;
      };
      for (const series of spec.series) {
        const colour = `var(--${series.name})`;
        if (series.low) {
          const upper = path(series, series.high);
          const lower = path({ x: [...series.x].reverse() }, [...series.low].reverse());
          if (upper && lower) shape(svg, "path", { class: "band", d: `${upper}${lower.replace("M", "L")}Z`, fill: colour });
        }
        const smooth = series.name === "train" && state.smoothing > 0 && series.x.length > 2;
        shape(svg, "path", { class: smooth ? "curve faint" : "curve", d: path(series, series.y), stroke: colour });
        if (smooth) shape(svg, "path", { class: "curve", d: path(series, smoothed(series.y, state.smoothing)), stroke: colour });
        if (series.x.length === 1 || (series.name !== "train" && series.x.length <= 60))
          series.x.forEach((px, i) => { if (fits(px, series.y[i])) shape(svg, "circle", { cx: x(px), cy: y(series.y[i]), r: 2.75, fill: colour }); });
      }
      const cursor = shape(svg, "g", {});
      const old = plot.querySelector("svg"), focused = old && old === document.activeElement;
      if (old) old.remove();
      plot.prepend(svg);
      if (focused) svg.focus();
      view = { width, box, x, y, xs, cursor };
      svg.addEventListener("pointermove", (event) => {
        const bounds = svg.getBoundingClientRect();
        const at = ((event.clientX - bounds.left) / bounds.width) * width;
        const ratio = Math.min(Math.max((at - box.left) / (box.right - box.left), 0), 1);
        point(state.logX ? xs[0] * (xs[1] / xs[0]) ** ratio : xs[0] + ratio * (xs[1] - xs[0]), false);
      });
      svg.addEventListener("pointerleave", leave);
      svg.addEventListener("blur", leave);
      svg.addEventListener("keydown", (event) => {
        const steps = spec.series.reduce((most, series) => (series.x.length > most.length ? series.x : most), []);
        const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity }[event.key];
        if (event.key === "Escape") leave();
        if (move === undefined) return;
        event.preventDefault();
        const from = state.step === null ? (move < 0 ? steps.length : -1) : nearest(steps, state.step);
        point(steps[Math.min(Math.max(from + move, 0), steps.length - 1)], true);
      });
      if (state.step !== null) point(state.step, false);
    };

    const leave = () => { state.step = null; tip.hidden = true; view.cursor.replaceChildren(); };

    // Shows the values nearest to a step, as a cursor and a note, and aloud when the keyboard asked.
    const point = (step, aloud) => {
      const found = spec.series.map((series) => ({ series, i: nearest(series.x, step) }));
      const closest = found.reduce((best, one) =>
        Math.abs(one.series.x[one.i] - step) < Math.abs(best.series.x[best.i] - step) ? one : best);
      state.step = closest.series.x[closest.i];
      view.cursor.replaceChildren();
      tip.replaceChildren(element("div", {}, `step ${state.step.toLocaleString("en-US")}`));
      shape(view.cursor, "line", { class: "cursor", x1: view.x(state.step), x2: view.x(state.step), y1: view.box.top, y2: view.box.bottom });
      for (const { series } of found) {
        const i = nearest(series.x, state.step), row = element("div"), value = series.y[i];
        row.append(element("span", { class: "swatch", style: `border-color: var(--${series.name})` }), `${series.name} ${number(value)}`);
        const extra = [];
        if (series.low && series.low[i] !== series.high[i]) extra.push(`${number(series.low[i])} to ${number(series.high[i])}`);
        if (series.x[i] !== state.step) extra.push(`step ${series.x[i].toLocaleString("en-US")}`);
        if (extra.length) row.append(element("span", { class: "range" }, ` (${extra.join(", ")})`));
        tip.append(row);
        if ((!state.logY || value > 0) && (!state.logX || series.x[i] > 0))
          shape(view.cursor, "circle", { cx: view.x(series.x[i]), cy: view.y(value), r: 3.5, fill: `var(--${series.name})` });
      }
      tip.hidden = false;
      const at = (view.x(state.step) / view.width) * plot.clientWidth;
      tip.style.left = `${Math.max(0, Math.min(at + 12, plot.clientWidth) - (at > plot.clientWidth / 2 ? tip.offsetWidth + 24 : 0))}px`;
      if (aloud) spoken.textContent = [...tip.children].map((row) => row.textContent).join("; ");
    };

    const controls = element("div", { class: "controls" });
    if (spec.smoothing !== undefined) {
      const label = element("label", {}, "smoothing"), shown = element("output", {}, state.smoothing.toFixed(2));
      const slider = element("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: state.smoothing });
      slider.addEventListener("input", () => { state.smoothing = Number(slider.value); shown.textContent = state.smoothing.toFixed(2); draw(); });
      label.append(slider, shown);
      controls.append(label);
    }
    for (const [key, text, usable] of [
      ["logX", "log x", spec.series.some((series) => series.x.some((value) => value > 0))],
      ["logY", "log y", spec.series.some((series) => series.y.some((value) => value > 0))],
    ]) {
      const button = element("button", { type: "button", "aria-pressed": "false", "aria-label": `${text} axis of ${spec.title}` }, text);
      button.disabled = !usable;
      button.addEventListener("click", () => { state[key] = !state[key]; button.setAttribute("aria-pressed", state[key]); draw(); });
      controls.append(button);
    }
    figure.querySelector("figcaption").append(controls);
    plot.append(tip, spoken);
    draw();
    let drawn = plot.clientWidth;
    new ResizeObserver(() => { if (plot.clientWidth && plot.clientWidth !== drawn) { drawn = plot.clientWidth; draw(); } }).observe(plot);
  };

  const figures = document.querySelectorAll("figure.chart");
  data.charts.forEach((spec, i) => { if (spec.series.length) chart(figures[i], spec); });

  // On paper everything is open.
  let closed = [];
  addEventListener("beforeprint", () => { closed = [...document.querySelectorAll("details:not([open])")]; closed.forEach((one) => { one.open = true; }); });
  addEventListener("afterprint", () => { closed.forEach((one) => { one.open = false; }); });
})();
