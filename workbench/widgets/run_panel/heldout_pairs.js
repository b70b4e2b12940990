// A reward run's held-out pairs: how both kinds of scores part, and eight pairs with their texts.
import { h } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { brief } from "../kit/plot.js";

const ACROSS = 600; // units of a drawing, which takes the place's width
const TALL = 74; // of the histograms, one above the axis and one below

/** A table whose rows have `pair`: {chosen, rejected, scores: [chosen, rejected]}, and `spread`. */
export class PairRows {
  constructor() {
    this.nodes = [];
    this.drawing = made("svg", { viewBox: `0 0 ${ACROSS} ${TALL}`, preserveAspectRatio: "none", role: "img" });
    this.ends = [h("span"), h("span", {}, "score 0"), h("span")];
    const key = h("p", { class: "wbp-pair-key wb-muted" }, h("span", { class: "chosen" }, "▲ chosen"), h("span", { class: "rejected" }, "▼ rejected"), (this.words = h("span")));
    this.histogram = h("div", { class: "wbp-histogram" }, key, this.drawing, h("div", { class: "wbp-ends wb-muted wb-num" }, ...this.ends));
    this.list = h("ol", { class: "wbp-rows wbp-pairs" });
    this.root = h("div", { hidden: true }, this.histogram, this.list);
  }

  show(table) {
    const scores = table.rows.flatMap(({ pair }) => pair.scores);
    const { spread } = table;
    const most = Math.max(0.1, ...scores.map(Math.abs), ...(spread ? [Math.abs(spread.low), Math.abs(spread.high)] : []), this.most?.step >= 0 ? this.most.value : 0);
    this.most = { step: table.step, value: most }; // the scale only grows, so that what moves has moved
    this.histogram.hidden = !spread;
    if (spread) this.bars(spread, most);
    if (this.nodes.length !== table.rows.length || table.rows.some(({ prompt }, i) => this.nodes[i].prompt !== prompt)) this.renew(table.rows);
    table.rows.forEach((row, i) => this.nodes[i].place(row, most));
  }

  /** Chosen above the axis, rejected below; the earliest evaluation as an outline. */
  bars({ low, high, chosen, rejected, pairs, first }, most) {
    const top = Math.max(...chosen, ...rejected, ...(first ? [...first.chosen, ...first.rejected] : []), 1);
    const middle = TALL / 2;
    const across = (value) => (ACROSS * (value + most)) / (2 * most);
    const wide = (one) => (one.high - one.low) / one.chosen.length;
    const bar = (count, i, up, name) => made("rect", { class: name, x: across(low + i * wide({ low, high, chosen })) + 0.5, width: Math.max(0.5, across(low + wide({ low, high, chosen })) - across(low) - 1), y: up ? middle - ((middle - 2) * count) / top : middle, height: ((middle - 2) * count) / top });
    const outline = (counts, up) => {
      const points = counts.flatMap((count, i) => [first.low + i * wide(first), first.low + (i + 1) * wide(first)].map((at) => `${across(at).toFixed(1)},${(middle + (up ? -1 : 1) * (((middle - 2) * count) / top)).toFixed(1)}`));
      return made("polyline", { class: "was", points: points.join(" ") });
    };
    this.drawing.replaceChildren(
      ...chosen.map((count, i) => bar(count, i, true, "chosen")),
      ...rejected.map((count, i) => bar(count, i, false, "rejected")),
      ...(first ? [outline(first.chosen, true), outline(first.rejected, false)] : []),
      made("line", { class: "axis", x1: 0, x2: ACROSS, y1: middle, y2: middle }),
      made("line", { class: "zero", x1: ACROSS / 2, x2: ACROSS / 2, y1: 0, y2: TALL }),
    );
    this.words.textContent = `scores of ${pairs.toLocaleString("en")} held-out pairs${first ? "; outlined: the first evaluation" : ""}`;
    this.drawing.setAttribute("aria-label", `Histograms of the scores of ${pairs} held-out pairs`);
    this.ends[0].textContent = brief(-most);
    this.ends[2].textContent = `+${brief(most)}`;
  }

  renew(rows) {
    this.nodes = rows.map((row) => new PairRow(row));
    this.list.replaceChildren(...this.nodes.map((node) => node.root));
  }
}

/** One pair: its two points on the axis of scores, and its texts. */
class PairRow {
  constructor({ prompt, pair }) {
    this.prompt = prompt;
    this.bar = h("i", { class: "between" });
    this.points = { rejected: h("i", { class: "point rejected" }), chosen: h("i", { class: "point chosen" }) };
    this.figures = h("div", { class: "wbp-figures wb-num" });
    const track = h("div", { class: "wbp-track" }, h("i", { class: "zero" }), this.bar, this.points.rejected, this.points.chosen);
    const asked = h("div", { class: "wbp-asked" }, h("div", { class: "wbp-prompt" }, textBlock(arrive(prompt))), this.figures);
    const text = (side) => h("div", { class: `wbp-side ${side}` }, textBlock(arrive(pair[side])));
    this.root = h("li", {}, asked, track, h("div", { class: "wbp-two" }, text("chosen"), text("rejected")));
  }

  place({ pair }, most) {
    const [chosen, rejected] = pair.scores;
    const share = (value) => 50 + (49 * value) / most;
    this.points.chosen.style.left = `${share(chosen)}%`;
    this.points.rejected.style.left = `${share(rejected)}%`;
    Object.assign(this.bar.style, { left: `${Math.min(share(chosen), share(rejected))}%`, width: `${Math.abs(share(chosen) - share(rejected))}%` });
    const right = chosen > rejected;
    this.root.classList.toggle("wrong", chosen < rejected);
    const gap = `${right ? "+" : ""}${brief(chosen - rejected)}`;
    this.figures.replaceChildren(h("span", {}, "chosen ", h("b", {}, brief(chosen))), h("span", {}, "rejected ", h("b", {}, brief(rejected))), h("span", { class: "verdict" }, chosen === rejected ? "alike" : right ? `✓ ${gap}` : `✕ ${gap}`));
  }
}

function made(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
