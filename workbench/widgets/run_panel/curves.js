// The panel's curves: which charts there are, how they are shown, and when they are drawn.
import { h, keycap } from "../kit/dom.js";
import { Chart, NUMBERED, lookOf, short, watchTheme } from "../kit/plot.js";
import { Vitals } from "./vitals.js";

const REDRAW = 250; // ms between two drawings, at least
const STILL = 5; // px that a click may move
const OPENED = "workbench run panel: drawer"; // what the browser remembers
// What a person has chosen; the module is one widget's, so a second view starts the same.
const chosen = { smoothing: 0, log: false, more: false };

export class Curves {
  /** `pick(step)`: a person has clicked on a step. `whole`: no curve is behind "more". */
  constructor(pick = () => {}, whole = false) {
    this.pick = pick;
    this.whole = whole;
    this.step = "step";
    this.data = {}; // metric -> {x, y}
    this.changes = [];
    this.alarms = [];
    this.charts = [];
    this.guides = {};
    this.total = null;
    this.pinned = null; // the step whose answers are shown, where that is not the newest
    this.build();
    this.endTheme = watchTheme(() => this.newLook());
    this.sizes = new ResizeObserver(() => this.resize());
    for (const node of [this.grid, this.large]) this.sizes.observe(node);
  }

  close() {
    this.closed = true;
    clearTimeout(this.drawing);
    this.sizes.disconnect();
    this.endTheme();
    for (const chart of this.charts) chart.close(this.Plotly);
  }

  build() {
    this.by = h("span", { class: "wb-label" }, "Curves");
    this.smooth = h("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: chosen.smoothing, "aria-label": "smoothing" });
    this.smooth.addEventListener("input", () => {
      chosen.smoothing = Number(this.smooth.value);
      this.redraw();
    });
    this.log = h("button", { type: "button", "aria-pressed": String(chosen.log), onclick: () => this.toggleLog() }, "Log axis", keycap("l"));
    this.more = h("button", { type: "button", onclick: () => this.toggleMore(), hidden: true });
    this.changed = h("p", { class: "wbp-changed wb-muted", hidden: true });
    this.waiting = h("p", { class: "wbp-waiting wb-muted" }, "Reading the run folder …");
    this.toCome = "no points yet"; // what an empty chart says
    this.grid = h("div", { class: "wbp-grid" });
    this.large = h("div", { class: "wbp-large" });
    this.vitals = new Vitals();
    const smoothing = h("label", { class: "wbp-smooth" }, "Smoothing", this.smooth);
    const tools = h("div", { class: "wbp-bar" }, this.by, smoothing, this.log, h("span", { class: "wbp-gap" }), this.more);
    this.root = h("section", { class: "wbp-curves", "aria-label": "Curves" }, tools, this.changed, this.waiting, this.grid);
    for (const place of [this.large, this.grid]) this.listen(place);
  }

  /** What a step is called. */
  name(step) {
    this.step = step;
    this.by.textContent = `Curves by ${step}`;
  }

  start(Plotly) {
    this.Plotly = Plotly;
    this.redraw();
  }

  /** Everything so far. */
  begin(data) {
    this.data = data;
    this.redraw();
  }

  /** Rows to add, from the one numbered `first` in this message; a gap (null) is left out. */
  extend({ steps, columns }, first) {
    for (const [name, values] of Object.entries(columns)) {
      const curve = (this.data[name] ??= { x: [], y: [] });
      for (let i = first; i < values.length; i++)
        if (values[i] !== null) {
          curve.x.push(steps[i]);
          curve.y.push(values[i]);
        }
    }
    this.redraw();
  }

  /** One Chart a spec; those that stay keep their drawing. */
  showCharts(specs) {
    const old = new Map(this.charts.map((chart) => [JSON.stringify(chart.spec), chart]));
    this.charts = specs.map((spec) => {
      const key = JSON.stringify(spec);
      const known = old.get(key);
      old.delete(key);
      return known ?? new Chart(spec, this.step);
    });
    for (const chart of old.values()) chart.close(this.Plotly);
    const roots = (large) => this.charts.filter((chart) => chart.large === large).map((chart) => chart.root);
    this.large.replaceChildren(...roots(true));
    this.grid.replaceChildren(...roots(false));
    this.waiting.hidden = specs.length > 0;
    this.vitals.take(specs);
    this.unfold();
    this.redraw();
  }

  /** What the numbers above the dotted lines stand for. */
  showChanges(changes) {
    this.changes = changes;
    this.changed.hidden = !changes.length;
    const last = changes.slice(-NUMBERED).map((change, i) => {
      const number = changes.length <= NUMBERED ? h("b", {}, String(i + 1)) : null;
      return h("span", {}, number, ` ${change.name} ${short(change.value)} from ${this.step} ${change.step}`);
    });
    this.changed.replaceChildren("Changed: ", ...last);
    this.redraw();
  }

  /** Where they rang is shaded on the curve that shows it. */
  showAlarms(alarms) {
    this.alarms = alarms;
    this.redraw();
  }

  /** What the deciding curves are read against now, and how far the run is to go. */
  showGuides(guides, total) {
    if (guides) this.guides = guides;
    if (total !== undefined) this.total = total;
    this.redraw();
  }

  unfold() {
    const small = this.charts.filter((chart) => !chart.large);
    const hidden = small.filter((chart) => !chart.spec.first).length;
    const open = chosen.more || this.whole;
    const shown = open ? small.length : small.length - hidden;
    for (const chart of small) chart.root.hidden = !chart.spec.first && !open;
    this.grid.classList.toggle("threes", shown % 3 === 0 || shown > 6);
    this.more.hidden = !hidden || this.whole;
    this.more.setAttribute("aria-expanded", String(chosen.more));
    this.more.replaceChildren(chosen.more ? "Fewer curves" : `${hidden} more curves`, keycap("m"));
  }

  toggleMore() {
    chosen.more = !chosen.more;
    this.unfold();
    this.redraw();
  }

  toggleLog() {
    chosen.log = !chosen.log;
    this.log.setAttribute("aria-pressed", String(chosen.log));
    this.redraw();
  }

  newLook() {
    this.look = null;
    this.redraw();
  }

  /** Draw soon: many wishes become one drawing. */
  redraw() {
    if (this.drawing || this.closed) return;
    const wait = Math.max(0, REDRAW - (Date.now() - (this.drew ?? 0)));
    this.drawing = setTimeout(() => requestAnimationFrame(() => this.draw()), wait);
  }

  draw() {
    this.drawing = null;
    if (this.Plotly && this.charts.length) this.drew = Date.now();
    const place = this.root.isConnected ? this.root : this.large;
    if (this.closed || !place.isConnected) return;
    this.look ??= lookOf(place);
    const options = { ...chosen, look: this.look, changes: this.changes, alarms: this.alarms, guides: this.guides, total: this.total, toCome: this.toCome, crosshair: true };
    this.align(options);
    for (const chart of this.charts) if (chart.root.offsetParent) chart.draw(this.Plotly, this.data, options);
    this.vitals.draw(this.data, options);
  }

  /** Large charts above each other have their steps above each other. */
  align(options) {
    const large = this.charts.filter((chart) => chart.large && chart.root.offsetParent);
    const stacked = new Set(large.map((chart) => chart.root.offsetLeft)).size === 1;
    const most = stacked ? Math.max(0, ...large.map((chart) => chart.roomAtRight(this.data, options))) : 0;
    for (const chart of large) chart.right = most;
  }

  resize() {
    if (this.Plotly) this.align({ total: this.total });
    if (this.Plotly) for (const chart of this.charts) if (chart.root.offsetParent) chart.resize(this.Plotly);
  }

  // --- one crosshair through all charts ---------------------------------------------------------

  /** Follow the pointer over the charts of a place; a click that does not drag picks a step. */
  listen(place) {
    const chartAt = (event) => this.charts.find((chart) => chart.canvas.contains(event.target));
    place.addEventListener("pointermove", (event) => this.cross(chartAt(event)?.stepAt(event.clientX) ?? null));
    place.addEventListener("pointerleave", () => this.cross(null));
    place.addEventListener(
      "pointerdown",
      (event) => {
        const step = chartAt(event)?.stepAt(event.clientX) ?? null;
        if (step === null || event.button) return;
        const up = (end) => Math.hypot(end.clientX - event.clientX, end.clientY - event.clientY) < STILL && this.pick(step);
        window.addEventListener("pointerup", up, { once: true, capture: true });
      },
      true,
    );
  }

  /** The crosshair at a step; null leaves it where the answers stand. */
  cross(step) {
    this.at = step;
    const shown = step ?? this.pinned;
    for (const chart of this.charts) if (chart.root.offsetParent) chart.cross(shown, step === null);
    this.vitals.cross(shown);
  }

  /** The answers of this step are shown; null where these are the newest. */
  pin(step) {
    this.pinned = step;
    this.cross(this.at ?? null);
  }
}

/** Whether a person left the drawer open; `open` writes it down. A browser may refuse to remember. */
export function remembered(open) {
  try {
    if (open !== undefined) localStorage.setItem(OPENED, String(open));
    return localStorage.getItem(OPENED) === "true";
  } catch {
    return open ?? false;
  }
}
