// The figures that stay in sight though their charts lie in the drawer: a number and its course.
import { h } from "../kit/dom.js";
import { brief } from "../kit/plot.js";

const WIDE = 120; // units of a drawing, which takes the tile's width
const HIGH = 26;

export class Vitals {
  constructor() {
    this.tiles = [];
    this.root = h("div", { class: "wbp-vitals", role: "group", "aria-label": "Vital figures", hidden: true });
  }

  /** One tile a chart that is vital. */
  take(specs) {
    const vital = specs.filter((spec) => spec.vital);
    this.root.hidden = !vital.length;
    this.tiles = vital.map((spec) => {
      const value = h("b", { class: "wb-num" }, "–");
      const name = h("span", { class: "wbp-vital-name", title: spec.help }, spec.title);
      const course = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [key, text] of Object.entries({ viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" })) course.setAttribute(key, text);
      const root = h("div", { class: "wbp-vital" }, name, value, course);
      return { spec, value, course, root, metric: spec.lines[0].metric };
    });
    this.root.replaceChildren(...this.tiles.map((tile) => tile.root));
  }

  draw(curves, { alarms }) {
    for (const tile of this.tiles) {
      tile.curve = curves[tile.metric] ?? { x: [], y: [] };
      const rings = (alarms ?? []).some((alarm) => alarm.until === null && tile.spec.lines.some((line) => line.metric === alarm.metric));
      tile.root.classList.toggle("ringing", rings);
      this.say(tile);
      tile.course.replaceChildren(...courseOf(tile.curve));
    }
  }

  /** The values of one step, or (null) the newest. */
  cross(step) {
    this.at = step;
    for (const tile of this.tiles) this.say(tile);
  }

  say(tile) {
    const { x, y } = tile.curve ?? { x: [], y: [] };
    const at = this.at ?? Infinity;
    let place = y.length - 1;
    while (place > 0 && x[place] > at) place--;
    tile.value.textContent = brief(y[place]);
  }
}

/** The course as a line, and a dotted one where it began. */
function courseOf({ x, y }) {
  if (y.length < 2) return [];
  const every = Math.max(1, Math.floor(y.length / 150));
  const points = x.map((step, i) => [step, y[i]]).filter((_, i) => i % every === 0 || i === y.length - 1);
  const [low, high] = points.reduce(([a, b], [, value]) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const across = (step) => (WIDE * (step - x[0])) / (x.at(-1) - x[0] || 1);
  const up = (value) => HIGH - 3 - (high > low ? ((HIGH - 6) * (value - low)) / (high - low) : (HIGH - 6) / 2);
  const line = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const start = up(y[0]).toFixed(1);
  return [
    line("line", { x1: 0, x2: WIDE, y1: start, y2: start, class: "start" }),
    line("polyline", { points: points.map(([step, value]) => `${across(step).toFixed(1)},${up(value).toFixed(1)}`).join(" "), class: "course" }),
  ];
}
