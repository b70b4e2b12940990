// The panel's curves: which charts there are, how they are shown, and when they are drawn.
import { h, keycap } from "../kit/dom.js";
import { Chart, NUMBERED, lookOf, short, watchTheme } from "../kit/plot.js";

const REDRAW = 250; // ms between two drawings, at least
// What a person has chosen; the module is one widget's, so a second view starts the same.
const chosen = { smoothing: 0, log: false, more: false };

export class Curves {
  constructor() {
    this.step = "step";
    this.data = {}; // metric -> {x, y}
    this.changes = [];
    this.alarms = [];
    this.charts = [];
    this.build();
    this.endTheme = watchTheme(() => this.newLook());
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.grid);
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
    this.grid = h("div", { class: "wbp-grid" });
    const smoothing = h("label", { class: "wbp-smooth" }, "Smoothing", this.smooth);
    const tools = h("div", { class: "wbp-bar" }, this.by, smoothing, this.log, h("span", { class: "wbp-gap" }), this.more);
    this.root = h("section", { class: "wbp-curves", "aria-label": "Curves" }, tools, this.changed, this.waiting, this.grid);
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
    this.grid.replaceChildren(...this.charts.map((chart) => chart.root));
    this.waiting.hidden = specs.length > 0;
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

  unfold() {
    const hidden = this.charts.filter((chart) => !chart.spec.first).length;
    const shown = chosen.more ? this.charts.length : this.charts.length - hidden;
    for (const chart of this.charts) chart.root.hidden = !chart.spec.first && !chosen.more;
    this.grid.classList.toggle("threes", shown % 3 === 0 || shown > 6);
    this.more.hidden = !hidden;
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
    if (this.closed || !this.root.isConnected) return;
    this.look ??= lookOf(this.root);
    const options = { ...chosen, look: this.look, changes: this.changes, alarms: this.alarms };
    for (const chart of this.charts) if (!chart.root.hidden) chart.draw(this.Plotly, this.data, options);
  }

  resize() {
    if (this.Plotly) for (const chart of this.charts) chart.resize(this.Plotly);
  }
}
