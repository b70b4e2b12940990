// Curves: Plotly once a page, small charts, smoothing. Shared by the run panel and the report.
import { brief, h } from "./dom.js";
export { brief } from "./dom.js";

const SHARED = "__workbenchPlotly";
const COLOURS = {
  light: ["#0072b2", "#a8437f", "#00875f", "#b3560a", "#7a6200", "#3a3a3a"],
  dark: ["#56b4e9", "#ee9cc9", "#2fc796", "#f0a04b", "#f0e442", "#e8e8e8"],
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
  const parts = ["const module={exports:{}},exports=module.exports,define=undefined;\n", source, "\n;export default module.exports.newPlot ? module.exports : window.Plotly;"];
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
  const look = { ink: colour("--wb-ink"), muted: colour("--wb-muted"), line: colour("--wb-grid"), guide: colour("--wb-guide"), alarm: colour("--wb-red"), surface: colour("--wb-surface"), sans: getComputedStyle(root).fontFamily };
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

/** Two decimals where these say something: figures beside each other then line up. */
export const hundredths = (value) => (Math.abs(value) >= 0.1 && Math.abs(value) < 100 ? value.toFixed(2).replace("-", "−") : brief(value));

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
const NAME_ROOM = 108; // px for a curve's name at its end
const LEFT = 48; // px at the left of a large chart, for its numbers
const RIGHT = 8;
const SECOND = 36; // px for a second axis and its title
const NAME_GAP = 15; // px between two of these names
const WORDED = 3; // changes that are told in words on a large chart

const plain = (text) => String(text).replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
/** How much a large chart's curve is smoothed: over its `mean` steps, and more of them in a long run. */
const weightOf = (line, smoothing) => (line.mean > 1 ? Math.max(smoothing, 1 - 2 / (Math.max(line.mean, line.y.length / 25) + 1)) : smoothing);
/** The steps that a large chart's figure is a mean of: its `mean`, in a long run a 25th of it, as in verdict.py. */
const widthOf = ({ x, mean }) => (mean > 1 ? Math.max(mean, Math.floor((x.at(-1) - x[0] + 1) / 25)) : 1);
/** The values of the last steps that a figure is a mean of; a long run's curve comes thinned. */
const newestOf = (line) => line.y.slice(line.mean > 1 ? line.x.findLastIndex((x) => x <= line.x.at(-1) - widthOf(line)) + 1 : -1);
const startOf = (line) => meanOf(line.mean > 1 ? line.y.slice(0, placeOf(line.x, line.x[0] + widthOf(line) - 1) + 1) : line.y.slice(0, 1));
const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The place of the last of `xs` that is not behind `x`; 0 where all are. */
function placeOf(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** One chart: title and newest values as text, the curves by Plotly. A deciding one is large. */
export class Chart {
  /** `spec`: a chart of curves.py. `step`: what a step is called ("update"). */
  constructor(spec, step) {
    this.spec = spec;
    this.step = step;
    this.large = Boolean(spec.decides);
    this.values = h("span", { class: "wbp-values wb-num" });
    this.unit = h("span", { class: "wbp-unit" });
    this.note = h("span", { class: "wbp-note wb-num" });
    this.hair = h("i", { class: "wbp-hair", hidden: true });
    this.canvas = h("div", { class: "wbp-plot" }, h("p", { class: "wbp-empty" }, "no points yet"));
    this.plot = this.canvas;
    const title = h("span", { class: "wbp-chart-title", title: spec.help }, spec.title);
    const order = this.large ? [this.values, this.note] : spec.lines.length > 1 ? [title, this.unit, this.values] : [title, this.values, this.unit];
    this.root = h("figure", { class: `wbp-chart${this.large ? " large" : ""}`, "aria-label": spec.title }, h("figcaption", {}, ...order), h("div", { class: "wbp-frame" }, this.canvas, this.hair));
    this.drawn = false;
    this.lines = [];
  }

  linesOf(curves) {
    return this.spec.lines.map((line, i) => ({ ...line, i: line.place >= 0 ? line.place : i, ...(curves[line.metric] ?? { x: [], y: [] }), band: curves[line.spread] })).filter((line) => line.x.length);
  }

  /** Pixels that it takes at its right for names and a second axis; charts above each other take the same. */
  roomAtRight(curves, options) {
    const lines = this.linesOf(curves);
    return lines.length ? rightOf(this, lines, { ...options, ...reach(lines) }).room : 0;
  }

  /** `curves`: {metric: {x, y}}; `options`: {smoothing, log, changes, alarms, look, total, guides}. */
  draw(Plotly, curves, options) {
    const lines = this.linesOf(curves);
    const log = options.log && lines.every((line) => line.y.every((value) => value > 0));
    this.lines = lines;
    this.options = options;
    this.notLog = options.log && !log;
    this.most = lines.reduce((size, line) => (line.share ? size : line.y.reduce((a, b) => Math.max(a, Math.abs(b)), size)), 0);
    this.label();
    const { first, last } = reach(lines);
    const alarms = (options.alarms ?? []).filter((alarm) => this.spec.lines.some((line) => line.metric === alarm.metric));
    this.root.classList.toggle("ringing", alarms.some((alarm) => alarm.until === null));
    if (!this.drawn) this.canvas.firstChild.textContent = lines.length ? "the curves are coming …" : (options.toCome ?? "no points yet");
    if (!Plotly || !lines.length) return;
    const { unit } = this.spec;
    const few = last - first <= FEW;
    const traces = lines.flatMap((line) => this.traces(line, options, plain(unit)));
    const shade = shadeOf(alarms, last);
    const more = this.large ? largeLayout(this, lines, { ...options, alarms, log, first, last }) : {};
    const marks = this.large ? levels(this, lines, { ...options, alarms, first, end: more.xaxis.range[1], log }) : { traces: [], words: [] };
    if (!this.drawn) this.canvas.replaceChildren();
    this.drawn = true;
    this.revision = (this.revision ?? 0) + 1; // the arrays grow in place: without it Plotly sees no change
    const base = layout({ ...options, shade, large: this.large }, this.step, log, log ? null : flatRange(lines), few);
    const whole = { ...base, ...more, xaxis: { ...base.xaxis, ...more.xaxis }, yaxis: { ...base.yaxis, ...more.yaxis }, annotations: [...base.annotations, ...(more.annotations ?? []), ...marks.words], datarevision: this.revision };
    traces.push(...marks.traces);
    Plotly.react(this.canvas, traces, whole, { displayModeBar: false, doubleClick: "reset", showTips: false });
    this.placeHair();
  }

  /** The newest values in words, or (`at`) those of one step; with several lines each with its stroke. */
  label(at = this.at ?? null) {
    const { look, smoothing } = this.options;
    this.unit.textContent = this.spec.unit + (this.notLog ? " (not all above 0: linear)" : "");
    if (this.large) return this.largeLabel(at);
    const several = this.spec.lines.length > 1;
    this.values.replaceChildren(
      ...this.lines.map((line) => {
        const last = at !== null ? line.y[placeOf(line.x, at)] : smoothing ? smoothed(line.y, smoothing).at(-1) : line.y.at(-1);
        const name = several ? h("span", { class: "wbp-key" }, stroke(look.colours[line.i % 6], line.i), line.label) : null;
        return h("span", {}, name, h("b", {}, brief(last)));
      }),
    );
  }

  /** The first line's figure large, where it began, and the other lines' figures behind it. */
  largeLabel(at) {
    const [first, ...others] = this.lines;
    if (!first) return this.values.replaceChildren(h("span", { class: "wbp-what" }, this.spec.title));
    const value = (line) => (at === null ? meanOf(newestOf(line)) : line.y[placeOf(line.x, at)]);
    const start = startOf(first);
    const wide = widthOf(first);
    const where = at === null ? (first.y.length > first.mean ? `${first.mean > 1 ? "from" : "first"} ${this.say(start)}` : "") : `at ${this.step} ${first.x[placeOf(first.x, at)]}`;
    const means = at === null && first.mean > 1 && first.y.length > 1 ? `mean of ${Math.min(wide, first.y.length)}` : "";
    this.values.replaceChildren(
      h("b", { class: "wbp-big", title: this.spec.help }, this.say(value(first))),
      h("span", { class: "wbp-what", title: this.spec.help }, first.figure || (this.spec.lines.length > 1 ? first.label : this.spec.title.toLowerCase())),
      h("span", { class: "wbp-from" }, [where, means].filter(Boolean).join(" · ")),
      ...others.map((line) => h("span", { class: "wbp-other" }, `${line.label} `, h("b", {}, line.share ? hundredths(value(line)) : this.say(value(line))))),
    );
    this.note.textContent = at === null ? (this.options.guides?.[first.metric]?.note ?? "") : "";
    this.note.hidden = !this.note.textContent;
  }

  /** A figure of this chart in words: shares as percent, and 0 for what is nothing beside its curves. */
  say(value) {
    if (Math.abs(value) < 5e-4 * this.most) return "0";
    return this.spec.unit.startsWith("share") && Number.isFinite(value) ? `${Math.round(100 * value)} %` : hundredths(value);
  }

  traces(line, { look, smoothing }, unit) {
    const colour = look.colours[line.i % 6];
    const few = line.x.length <= 15;
    const axis = line.share ? { yaxis: "y2" } : {};
    const main = this.large && line === this.lines[0];
    const width = main ? 2.6 : 1.8;
    const hovertemplate = `${this.spec.lines.length > 1 ? plain(line.label) + " " : ""}<b>%{y:.4~g}</b> ${unit}<extra></extra>`;
    const shared = { type: "scatter", x: line.x, name: plain(line.label), hovertemplate, ...axis, zorder: main ? 1 : 0, line: { color: colour, width, dash: DASHES[line.i % 6] } };
    const marks = { mode: few ? "lines+markers" : "lines", marker: { size: this.large ? 5 : 4, color: colour } };
    const weight = this.large ? weightOf(line, smoothing) : smoothing;
    const band = this.large && line.band?.x.length === line.x.length ? bandOf(line, line.band, colour, weight) : [];
    if (!weight || line.y.length < 3) return [{ ...shared, ...marks, y: line.y }, ...band];
    const raw = { ...shared, y: line.y, mode: "lines", opacity: line.x.length > 150 ? 0.2 : 0.3, hoverinfo: "skip", hovertemplate: null, line: { color: colour, width: 1 } };
    return [raw, ...band, { ...shared, mode: "lines", y: smoothed(line.y, weight) }];
  }

  /** The step below a place on the page, of those that were measured; null beside the plot. */
  stepAt(clientX) {
    const axis = this.canvas._fullLayout?.xaxis;
    if (!axis || !this.lines.length) return null;
    const x = axis.p2l(clientX - this.canvas.getBoundingClientRect().left - axis._offset);
    const xs = this.lines.reduce((most, line) => (line.x.length > most.length ? line.x : most), []);
    const place = placeOf(xs, x);
    const next = Math.min(place + 1, xs.length - 1);
    return Math.abs(xs[next] - x) < Math.abs(xs[place] - x) ? xs[next] : xs[place];
  }

  /** The crosshair at a step (null: none); the words above tell that step's values. */
  cross(step, pinned) {
    this.at = step;
    if (!this.options) return; // nothing is drawn yet
    this.hair.classList.toggle("pinned", Boolean(pinned));
    this.placeHair();
    this.label();
  }

  placeHair() {
    const axis = this.canvas._fullLayout?.xaxis;
    const x = axis && this.at !== undefined && this.at !== null ? axis.l2p(this.at) : NaN;
    this.hair.hidden = !(x >= -1 && x <= axis?._length + 1);
    if (this.hair.hidden) return;
    const { _offset, _length } = this.canvas._fullLayout.yaxis;
    Object.assign(this.hair.style, { left: `${axis._offset + x}px`, top: `${_offset}px`, height: `${_length}px` });
  }

  resize(Plotly) {
    if (!this.drawn || !this.canvas.clientWidth) return;
    if (this.large) this.draw(Plotly, Object.fromEntries(this.lines.flatMap((line) => [[line.metric, line], ...(line.band ? [[line.spread, line.band]] : [])])), this.options);
    Plotly.Plots.resize(this.canvas);
    this.placeHair();
  }

  close(Plotly) {
    if (this.drawn) Plotly?.purge(this.canvas);
  }
}

/** One deviation on either side of a curve, as two borders that are not drawn and what is between. */
function bandOf(line, deviation, colour, weight) {
  const middle = weight ? smoothed(line.y, weight) : line.y;
  const wide = weight ? smoothed(deviation.y, weight) : deviation.y;
  const border = { type: "scatter", x: line.x, mode: "lines", hoverinfo: "skip", line: { width: 0 }, name: "one deviation" };
  const fill = colour.replace(/^#(..)(..)(..)$/, (_, ...parts) => `rgba(${parts.slice(0, 3).map((part) => parseInt(part, 16)).join(",")},0.11)`);
  return [
    { ...border, y: middle.map((value, i) => value - wide[i]) },
    { ...border, y: middle.map((value, i) => value + wide[i]), fill: "tonexty", fillcolor: fill },
  ];
}

/** Lowest and highest that the left axis of a large chart has to show, with the guides that fit. */
function largeRange(chart, lines, guides) {
  const left = lines.filter((line) => !line.share);
  const shown = left.length ? left : lines;
  const values = shown.flatMap((line) => (line.band && line.band.y.length === line.y.length ? line.y.flatMap((value, i) => [value - line.band.y[i], value + line.band.y[i]]) : line.y));
  let [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const span = high - low || Math.abs(high) || 1;
  for (const { value, keep } of guides)
    if (keep || (value > low - 0.6 * span && value < high + 0.6 * span)) [low, high] = [Math.min(low, value), Math.max(high, value)];
  const room = 0.09 * (high - low || Math.abs(high) || 1);
  return [low - room, high + room];
}

const guidesOf = (chart, lines, { guides }) => [
  ...(chart.spec.guides ?? []).map(([value, words]) => ({ value, words, keep: true })),
  ...((guides?.[lines[0].metric] ?? guides?.[chart.spec.lines[0].metric])?.guides ?? []).map(([value, words]) => ({ value, words, keep: false })),
];

/** The end of the axis of steps: all that are planned, or less of them while there are few. */
function endOf(last, first, total) {
  let end = total && total > last ? total : last;
  while (end > 12 && first + (end - first) / 2 > last + 0.5 * (last - first)) end = Math.ceil(first + (end - first) / 2);
  return Math.max(end, first + 1);
}

/** The first and the last step of some curves. */
const reach = (lines) => ({ first: Math.min(...lines.map((line) => line.x[0])), last: Math.max(...lines.map((line) => line.x.at(-1))) });

const sharesOf = (lines) => lines.some((line) => line.share) && lines.some((line) => !line.share);

/** Pixels at the right of a large chart's axis, and whether the curves' names stand behind a second axis. */
function rightOf(chart, lines, { first, last, total }) {
  const inner = Math.max(200, chart.canvas.clientWidth || 480) - LEFT - RIGHT;
  const end = endOf(last, first, total);
  const free = (inner * (end - last)) / (end - first || 1);
  const shares = sharesOf(lines);
  const named = lines.length > 1 && free < NAME_ROOM;
  const beyond = shares && named;
  const names = named ? NAME_ROOM - (beyond ? 0 : Math.max(0, free)) : 0;
  return { room: RIGHT + (shares ? SECOND : 0) + names, beyond };
}

/** What only a large chart has: ranges with room for the names at the curves' ends, and the names. */
function largeLayout(chart, lines, options) {
  const { look, first, last, total, log } = options;
  const guides = guidesOf(chart, lines, options);
  const height = chart.canvas.clientHeight || 190;
  const { room, beyond } = rightOf(chart, lines, options);
  const margin = { l: LEFT, r: Math.max(room, chart.right ?? 0), t: options.changes.length ? 18 : 6, b: 22 };
  const inner = Math.max(200, chart.canvas.clientWidth || 480) - margin.l - margin.r;
  const shares = sharesOf(lines);
  const named = lines.length > 1;
  const end = endOf(last, first, total);
  const pad = 0.012 * (end - first);
  const range = log ? null : largeRange(chart, lines, guides);
  const share = [-0.09, 1.09];
  const inside = height - margin.t - margin.b;
  const yOf = (line) => {
    const [low, high] = line.share && shares ? share : (range ?? [0, 1]);
    return ((line.shown - low) / (high - low)) * inside;
  };
  const names = lines
    .map((line) => ({ ...line, shown: ending(line, options) }))
    .map((line) => ({ line, at: log ? NaN : yOf(line) }))
    .sort((a, b) => a.at - b.at);
  names.forEach((one, i) => (one.place = i && one.at < names[i - 1].place + NAME_GAP ? names[i - 1].place + NAME_GAP : one.at));
  const over = (names.at(-1)?.place ?? 0) - (inside + 8);
  if (over > 0) names.forEach((one) => (one.place -= over));
  const nameOf = ({ line, at, place }) => ({
    xref: beyond ? "paper" : "x", yref: line.share && shares ? "y2" : "y", x: beyond ? 1 : line.x.at(-1), y: line.shown, yshift: place - at, xshift: beyond ? SECOND : 7, xanchor: "left", yanchor: "middle",
    showarrow: false, text: `<b>${plain(line.label)}</b>`, font: { size: 12, color: look.colours[line.i % 6] }, captureevents: false,
  });
  return {
    margin,
    xaxis: { automargin: false, range: [first - pad, end + pad], nticks: Math.max(3, Math.round(inner / 90)) },
    yaxis: { automargin: false, ...(range ? { range } : {}), nticks: 5, ...(chart.spec.unit.startsWith("share") ? { tickformat: ".0%" } : {}) },
    ...(shares ? { yaxis2: { overlaying: "y", side: "right", range: share, fixedrange: true, showgrid: false, zeroline: false, tickvals: [0, 0.5, 1], ticktext: ["0", "½", "1"], tickfont: { size: 11, color: look.colours[lines.find((line) => line.share).i % 6] } } } : {}),
    annotations: [...(shares ? [secondTitle(lines, look)] : []), { xref: "paper", yref: "paper", x: 0, y: 0, xanchor: "right", yanchor: "top", yshift: -3, xshift: -1, showarrow: false, text: chart.step, font: { size: 11, color: look.muted } }, ...(named && !log ? names.map(nameOf) : [])],
  };
}

/** Where a curve ends as it is drawn. */
function ending(line, { smoothing }) {
  const weight = weightOf(line, smoothing);
  return weight && line.y.length >= 3 ? smoothed(line.y, weight).at(-1) : line.y.at(-1);
}

/** What the second axis counts, along it. */
const secondTitle = (lines, look) => {
  const { label, i } = lines.find((line) => line.share);
  return { xref: "paper", yref: "paper", x: 1, y: 0.5, xshift: SECOND - 18, xanchor: "left", yanchor: "middle", textangle: 90, showarrow: false, text: plain(label), font: { size: 11, color: look.colours[i % 6] }, captureevents: false };
};

/** Words in one line, or in two where they are wider than so many pixels. */
function folded(text, width) {
  const middle = text.indexOf(" ", text.length / 2);
  return 6 * text.length <= width || middle < 0 ? [text] : [text.slice(0, middle), text.slice(middle + 1)];
}

/** The start as a dotted line and the guides as thin ones, each with its words above or below its end; when alarms rang. */
function levels(chart, lines, { look, alarms, first, end, guides, log }) {
  const shown = guidesOf(chart, lines, { guides });
  const range = largeRange(chart, lines, shown);
  const line = lines.find((one) => !one.share) ?? lines[0];
  const start = startOf(line);
  const small = { xref: "x", showarrow: false, borderpad: 1, captureevents: false };
  const inner = (chart.canvas.clientWidth || 480) - LEFT - Math.max(RIGHT, chart.right ?? 0);
  const traces = [];
  const words = [];
  const level = (value, text, dash, colour, above) => {
    traces.push({ type: "scatter", x: [first, end], y: [value, value], mode: "lines", hoverinfo: "skip", name: `level: ${text}`, line: { color: colour, width: 1, dash } });
    words.push({ ...small, xref: "paper", x: 1, y: log ? Math.log10(value) : value, xanchor: "right", yanchor: above ? "bottom" : "top", text: folded(text, inner).map(plain).join("<br>"), font: { size: 11, color: look.muted } });
  };
  const fits = ({ value }) => value > range[0] && value < range[1] && (!log || value > 0);
  const near = (value) => shown.some((one) => fits(one) && one.value > value && one.value - value < 0.09 * (range[1] - range[0]));
  for (const { value, words } of shown.filter(fits)) level(value, words, "solid", look.guide, !near(value));
  if (line.y.length > line.mean && (!log || start > 0)) level(start, line.mean > 1 ? "start" : "first", "dot", look.muted, false);
  let told = -Infinity;
  for (const { since, until } of [...alarms].sort((a, b) => a.since - b.since)) {
    if (since - told < 0.25 * (end - first)) continue; // its words would lie over the last ones
    told = since;
    const late = since > first + 0.75 * (end - first);
    words.push({ ...small, yref: "paper", x: late ? (until ?? end) + 0.5 : since - 0.5, y: 1, xanchor: late ? "right" : "left", yanchor: "top", text: until === null ? "▲ alarm" : "△ alarm, over", font: { size: 11, color: look.alarm } });
  }
  return { traces, words };
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

function layout({ look, changes, shade, large, crosshair }, step, log, range, few) {
  const axis = { color: look.muted, gridcolor: look.line, linecolor: look.line, zeroline: false, tickfont: { size: 11, color: look.muted }, automargin: true };
  const line = { color: look.muted, width: 1.2, dash: "dot" };
  const mark = (change) => ({ type: "line", xref: "x", yref: "paper", x0: change.step, x1: change.step, y0: 0, y1: 1, line });
  const rang = { type: "path", xref: "x", yref: "paper", path: shade, fillcolor: look.alarm, opacity: 0.13, line: { width: 0 }, layer: "below" };
  const worded = large && changes.length <= WORDED;
  const number = (change, i) => ({
    xref: "x", yref: "paper", x: change.step, y: 1, xanchor: worded ? "left" : "center", yanchor: "bottom", showarrow: false, borderpad: 0,
    text: worded ? `${change.step} · you: ${plain(change.name)} ${plain(short(change.value))}` : String(i + 1), font: { size: worded ? 11 : 10, color: worded ? look.muted : look.ink },
  });
  return {
    autosize: true, showlegend: false, hovermode: crosshair ? false : "x unified", uirevision: "keep", dragmode: "zoom",
    margin: { l: 36, r: 10, t: changes.length ? 16 : 6, b: 24 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { size: 11, color: look.ink, family: look.sans },
    hoverlabel: { bgcolor: look.surface, bordercolor: look.line, font: { size: 12, color: look.ink } },
    xaxis: { ...axis, showgrid: false, unifiedhovertitle: { text: `${step} %{x}` }, nticks: 6, tickformat: ",d", ...(few ? { dtick: 1 } : {}) },
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
