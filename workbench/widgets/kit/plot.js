// Curves: Plotly once a page, small charts, smoothing. Shared by the run panel and the report.
import { h } from "./dom.js";

const SHARED = "__workbenchPlotly";
const COLOURS = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b0578b", "#8a6d00", "#3a3a3a"],
  dark: ["#56b4e9", "#e69f00", "#2fc796", "#e3a0c6", "#f0e442", "#e8e8e8"],
};
export const NUMBERED = 12; // more changes than this are lines without numbers
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "solid"];
const SVG_DASHES = ["", "5 3", "2 2", "6 2 2 2", "8 3", ""];

// --- Plotly, once a page -----------------------------------------------------------------------

/**
 * The page's Plotly; `fetchPacked` asks Python for it and is only called by the first panel.
 * A panel that waits for another's request tries its own when that one fails.
 */
export async function pagePlotly(fetchPacked) {
  const others = window[SHARED];
  if (others) {
    try {
      return await others;
    } catch {
      if (window[SHARED] === others) delete window[SHARED];
      return pagePlotly(fetchPacked);
    }
  }
  return share(fetchPacked());
}

/** Plotly has come unasked: nobody need wait for another notebook's busy kernel to send it. */
export function takePlotly(packed) {
  if (!window[SHARED] || window[SHARED].asking) share(Promise.resolve(packed));
}

/** The page's Plotly from now on; where it comes by another way first, that one. */
function share(packed) {
  const mine = packed.then((text) => {
    if (window[SHARED] !== mine) return window[SHARED];
    mine.asking = false;
    return unpack(text).then(evaluate);
  });
  mine.asking = true;
  window[SHARED] = mine;
  mine.catch(() => window[SHARED] === mine && delete window[SHARED]);
  return mine;
}

/** Plotly from Python, once `ask` has asked for it, however long a busy kernel takes. */
export function packedPlotly(model, ask, signal) {
  return new Promise((resolve, reject) => {
    const done = (act) => {
      model.off("msg:custom", take);
      signal.removeEventListener("abort", leave);
      act();
    };
    const take = ({ type, packed, key, fault }) => {
      if (type === "plotly") done(() => resolve(packed));
      if (type === "fault" && key === "plotly") done(() => reject(new Error(`${fault.what}. ${fault.fix}`)));
    };
    const leave = () => done(() => reject(new Error("the panel that asked for Plotly is gone")));
    model.on("msg:custom", take);
    signal.addEventListener("abort", leave);
    ask();
  });
}

async function unpack(packed) {
  const text = atob(packed);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i); // ten times as fast as Uint8Array.from
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** Run the bundle as a module of its own, as anywidget runs widgets; other Plotlys stay as they are. */
async function evaluate(source) {
  const before = window.Plotly;
  const parts = ["const module={exports:{}},exports=module.exports,define=undefined;\n", source, "\n;export default module.exports;"];
  const address = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
  try {
    return (await import(address)).default;
  } finally {
    URL.revokeObjectURL(address);
    if (before) window.Plotly = before;
    else delete window.Plotly;
  }
}

// --- the host's colours ------------------------------------------------------------------------

/** What Plotly needs of the host's theme, as plain colours. */
export function lookOf(root) {
  const probe = h("i", { style: "display:none" });
  root.append(probe);
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return plainColour(getComputedStyle(probe).color);
  };
  const look = { ink: colour("--wb-ink"), muted: colour("--wb-muted"), line: colour("--wb-line"), surface: colour("--wb-surface") };
  probe.remove();
  const [red, green, blue] = look.surface.match(/\d+/g).map(Number);
  look.dark = 0.3 * red + 0.59 * green + 0.11 * blue < 128;
  look.colours = COLOURS[look.dark ? "dark" : "light"];
  return look;
}

/** Any CSS colour as rgb(): Plotly does not know color-mix. */
function plainColour(css) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = css;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `rgb(${red},${green},${blue})`;
}

/** Call `change` whenever the host turns light or dark; returns what ends the watch. */
export function watchTheme(change) {
  const observer = new MutationObserver(change);
  for (const node of [document.body, document.documentElement])
    observer.observe(node, { attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light", "data-jp-theme-name"] });
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", change);
  return () => {
    observer.disconnect();
    system.removeEventListener("change", change);
  };
}

// --- numbers -----------------------------------------------------------------------------------

/** A number as a person reads it: about three figures. */
export function brief(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace("e+", "e").replace("-", "−").replace("e-", "e−");
  if (size >= 1000) return Math.round(value).toLocaleString("en").replace("-", "−");
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(digits).replace("-", "−");
}

/** A setting's value, without zeros at its end. */
export const short = (value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : String(value));

/** Exponential moving average without the start's bias; `weight` 0 leaves the values. */
export function smoothed(values, weight) {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

// --- a chart -----------------------------------------------------------------------------------

const FEW = 6; // steps: a tick each, since Plotly would put some between them

const plain = (text) => String(text).replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);

/** One small chart: title and newest values as text, the curves by Plotly. */
export class Chart {
  /** `spec`: a chart of curves.py. `step`: what a step is called ("update"). */
  constructor(spec, step) {
    this.spec = spec;
    this.step = step;
    this.values = h("span", { class: "wbp-values wb-num" });
    this.unit = h("span", { class: "wbp-unit" });
    this.plot = h("div", { class: "wbp-plot" }, h("p", { class: "wbp-empty" }, "no points yet"));
    const title = h("span", { class: "wbp-chart-title", title: spec.help }, spec.title);
    const order = spec.lines.length > 1 ? [title, this.unit, this.values] : [title, this.values, this.unit];
    this.root = h("figure", { class: "wbp-chart", "aria-label": spec.title }, h("figcaption", {}, ...order), this.plot);
    this.drawn = false;
  }

  /** `curves`: {metric: {x, y}}; `options`: {smoothing, log, changes, alarms, look}. */
  draw(Plotly, curves, options) {
    const lines = this.spec.lines.map((line, i) => ({ ...line, i, ...(curves[line.metric] ?? { x: [], y: [] }) })).filter((line) => line.x.length);
    const log = options.log && lines.every((line) => line.y.every((value) => value > 0));
    this.label(lines, options, options.log && !log);
    const last = Math.max(...lines.map((line) => line.x.at(-1)));
    const alarms = (options.alarms ?? []).filter((alarm) => this.spec.lines.some((line) => line.metric === alarm.metric));
    this.root.classList.toggle("ringing", alarms.some((alarm) => alarm.until === null));
    if (!this.drawn) this.plot.firstChild.textContent = lines.length ? "the curves are coming …" : "no points yet";
    if (!Plotly || !lines.length) return;
    const { unit } = this.spec;
    const few = last - Math.min(...lines.map((line) => line.x[0])) <= FEW;
    const traces = lines.flatMap((line) => this.traces(line, options, plain(unit)));
    if (!this.drawn) this.plot.replaceChildren();
    this.drawn = true;
    this.revision = (this.revision ?? 0) + 1; // the arrays grow in place: without it Plotly sees no change
    Plotly.react(this.plot, traces, { ...layout({ ...options, shade: shadeOf(alarms, last) }, this.step, log, log ? null : flatRange(lines), few), datarevision: this.revision }, { displayModeBar: false, doubleClick: "reset", showTips: false });
  }

  /** The newest values in words; with several lines each with its stroke. */
  label(lines, { look, smoothing }, notLog) {
    const several = this.spec.lines.length > 1;
    this.values.replaceChildren(
      ...lines.map((line) => {
        const last = smoothing ? smoothed(line.y, smoothing).at(-1) : line.y.at(-1);
        const name = several ? h("span", { class: "wbp-key" }, stroke(look.colours[line.i % 6], line.i), line.label) : null;
        return h("span", {}, name, h("b", {}, brief(last)));
      }),
    );
    this.unit.textContent = this.spec.unit + (notLog ? " (not all above 0: linear)" : "");
  }

  traces(line, { look, smoothing }, unit) {
    const colour = look.colours[line.i % 6];
    const few = line.x.length <= 15;
    const shared = { type: "scatter", x: line.x, name: plain(line.label), line: { color: colour, width: 1.8, dash: DASHES[line.i % 6] } };
    const hovertemplate = `${this.spec.lines.length > 1 ? plain(line.label) + " " : ""}<b>%{y:.4~g}</b> ${unit}<extra></extra>`;
    const marks = { mode: few ? "lines+markers" : "lines", marker: { size: 4, color: colour } };
    if (!smoothing || line.y.length < 3) return [{ ...shared, ...marks, y: line.y, hovertemplate }];
    const raw = { ...shared, y: line.y, mode: "lines", opacity: 0.28, hoverinfo: "skip", line: { color: colour, width: 1 } };
    const smoothTemplate = hovertemplate.replace("<extra>", " (smoothed)<extra>");
    return [raw, { ...shared, mode: "lines", y: smoothed(line.y, smoothing), hovertemplate: smoothTemplate }];
  }

  resize(Plotly) {
    if (this.drawn && this.plot.clientWidth) Plotly.Plots.resize(this.plot);
  }

  close(Plotly) {
    if (this.drawn) Plotly?.purge(this.plot);
  }
}

export function stroke(colour, i) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({ width: 18, height: 8, "aria-hidden": "true" })) node.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const attributes = { x1: 0, x2: 18, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.4, "stroke-dasharray": SVG_DASHES[i % 6] };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  node.append(line);
  return node;
}

/** Where alarms rang, as one path: a long run's hundreds of rectangles take as long as a chart. */
const shadeOf = (alarms, last) => alarms.map(({ since, until }) => `M${since - 0.5},0V1H${(until ?? last) + 0.5}V0Z`).join("");

function layout({ look, changes, shade }, step, log, range, few) {
  const axis = { color: look.muted, gridcolor: look.line, linecolor: look.line, zeroline: false, tickfont: { size: 11, color: look.muted }, automargin: true };
  const line = { color: look.muted, width: 1.2, dash: "dot" };
  const mark = (change) => ({ type: "line", xref: "x", yref: "paper", x0: change.step, x1: change.step, y0: 0, y1: 1, line });
  const rang = { type: "path", xref: "x", yref: "paper", path: shade, fillcolor: look.colours[1], opacity: 0.16, line: { width: 0 }, layer: "below" };
  const number = (change, i) => ({
    xref: "x", yref: "paper", x: change.step, y: 1, xanchor: "center", yanchor: "bottom", showarrow: false, borderpad: 0,
    text: String(i + 1), font: { size: 10, color: look.ink },
  });
  return {
    autosize: true, showlegend: false, hovermode: "x unified", uirevision: "keep", dragmode: "zoom",
    margin: { l: 36, r: 10, t: changes.length ? 16 : 6, b: 24 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { size: 11, color: look.ink },
    hoverlabel: { bgcolor: look.surface, bordercolor: look.line, font: { size: 12, color: look.ink } },
    xaxis: { ...axis, unifiedhovertitle: { text: `${step} %{x}` }, nticks: 6, tickformat: ",d", ...(few ? { dtick: 1 } : {}) },
    yaxis: { ...axis, type: log ? "log" : "linear", nticks: 5, exponentformat: "power", ...(range ? { range } : {}) },
    shapes: [...(shade ? [rang] : []), ...changes.map(mark)],
    annotations: changes.length <= NUMBERED ? changes.map(number) : [],
  };
}

/** Room around a curve that does not move: Plotly would zoom into its rounding. */
function flatRange(lines) {
  const values = lines.flatMap((line) => [Math.min(...line.y), Math.max(...line.y)]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low > 1e-6 * size) return null;
  const room = size ? 0.1 * size : 1;
  return [low - room, high + room];
}
