// The watched answers: the same prompts over time, before and now, marked word by word.
import { h, keycap } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { wordDiff } from "../kit/word_diff.js";
import { brief } from "../kit/plot.js";
import { PairRows } from "./heldout_pairs.js";
import { HEATS, heatBlock, heatLegend, heatScale, heatsOf, partsBlock } from "../kit/token_heat.js";

// what stands before an answer: the row's field
const AGAINST = { changed: "last", start: "first" };
// the figures of an answer, in the words of METRICS.md; a single answer's KL is a log-ratio
export const FIGURES = [
  ["score", "reward score", "by the reward model [points]"],
  ["gold", "gold", "gold score, by the judge that the policy never sees, 0 to 1"],
  ["kl", "log-ratio", "log π − log π_ref of this one answer [nats]: one sample of the KL, so it may be negative"],
];

/** `fetch({index} or {at})` asks Python for one table; `label` sends a row to be labelled. */
export class SampleTable {
  constructor(fetch, step, label, shows = () => {}, explain = () => {}) {
    this.explain = explain; // (index, row): ask why an answer has its score
    this.explains = false;
    this.whys = new Map(); // "index:row" -> { shown, why }
    this.fetch = fetch;
    this.label = label; // (index, row, against the first?): send a row to the labeller
    this.shows = shows; // (step, or null for the newest): these answers are shown now
    this.row = 0; // the one that keys act on
    this.step = step;
    this.newest = null; // as Python last told
    this.shown = null;
    this.follow = true; // stay at the newest
    this.wanted = -1; // index of the step that was chosen, shown or on its way
    this.seen = new Map(); // index -> table; a step's answers never change
    this.mark = "start"; // or "changed", or "off"
    this.heat = null; // or a name of HEATS
    this.build();
  }

  build() {
    this.title = h("span", { class: "wb-label", hidden: true }, "Held-out pairs");
    this.back = h("button", { type: "button", class: "wb-quiet", "aria-label": "earlier", onclick: () => this.go(this.at() - 1) }, keycap("ArrowLeft"));
    this.next = h("button", { type: "button", class: "wb-quiet", "aria-label": "later", onclick: () => this.go(this.at() + 1) }, keycap("ArrowRight"));
    this.slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "which step" });
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.when = h("span", { class: "wbp-when wb-num" });
    this.latest = h("button", { type: "button", class: "wb-quiet", onclick: () => this.goNewest() }, "Newest", keycap("n"));
    this.against = h("button", { type: "button", class: "wb-quiet", onclick: () => this.toggleStart() }, "Since the start", keycap("r"));
    this.diff = h("button", { type: "button", class: "wb-quiet", onclick: () => this.toggleDiff() }, "Since the last", keycap("d"));
    this.tokens = h("button", { type: "button", class: "wb-quiet", hidden: true, onclick: () => this.nextHeat() });
    this.legend = h("div", { class: "wbp-legends" });
    this.then = h("span");
    this.newer = h("span");
    this.now = h("span", { class: "wbp-now" });
    this.heads = h("div", { class: "wbp-two wbp-heads wb-label" }, this.then, this.now);
    this.body = h("ol", { class: "wbp-rows" });
    this.pairs = new PairRows();
    this.choices = h("span", { class: "wbp-choices" }, this.against, this.diff, this.tokens);
    this.root = h(
      "section",
      { class: "wbp-samples", "aria-label": "Sample answers", hidden: true },
      h("div", { class: "wbp-bar" }, this.title, this.back, this.slider, this.next, h("span", { class: "wbp-gap" }), this.choices),
      this.legend,
      this.heads,
      this.body,
      this.pairs.root,
    );
  }

  /** The step that is shown, or was asked for and is on its way. */
  at() {
    return this.follow ? (this.newest?.count ?? 0) - 1 : this.wanted;
  }

  /** The newest table, or (`asked`) one that was fetched. */
  take(table, { newest }) {
    if (newest) {
      if (this.newest && table.count < this.newest.count) this.forget(); // a resumed run was cut
      this.newest = table;
      this.slider.max = Math.max(0, table.count - 1);
      this.root.hidden = table.count === 0;
    }
    if (table.index >= 0) this.seen.set(table.index, table);
    if (!newest && this.byStep) {
      this.byStep = false;
      this.wanted = table.index;
      this.follow = this.wanted === this.newest.count - 1;
    }
    if (newest ? this.follow : table.index === this.wanted) this.show(table);
    else this.tools();
  }

  forget() {
    this.seen.clear();
    this.whys.clear();
  }

  go(index) {
    if (!this.newest?.count) return;
    this.byStep = false;
    this.wanted = Math.min(Math.max(0, index), this.newest.count - 1);
    this.follow = this.wanted === this.newest.count - 1;
    const known = this.follow ? this.newest : this.seen.get(this.wanted);
    if (known) return this.show(known);
    this.fetch({ index: this.wanted });
    this.tools();
  }

  /** The newest answers that are not behind a step. */
  goToStep(step) {
    if (!this.newest?.count) return;
    if (step >= this.newest.step) return this.goNewest();
    this.byStep = true;
    this.fetch({ at: step });
  }

  goNewest() {
    this.go((this.newest?.count ?? 0) - 1);
  }

  toggleDiff() {
    this.show(this.shown, this.mark === "changed" && !this.heat ? "off" : "changed");
  }

  toggleStart() {
    this.show(this.shown, this.mark === "start" && !this.heat ? "off" : "start");
  }

  /** Colour the tokens by the next of their figures; after the last one, by none. */
  nextHeat() {
    const names = heatsOf(this.shown?.rows ?? []);
    this.show(this.shown, this.mark, names[names.indexOf(this.heat) + 1] ?? null);
  }

  tools() {
    const count = this.newest?.count ?? 0;
    this.back.disabled = this.at() <= 0;
    this.next.disabled = this.latest.hidden = this.at() >= count - 1;
    this.slider.hidden = count < 2;
    this.slider.value = this.at();
    const { step = null, before = null, start = null, rows = [] } = this.shown ?? {};
    const press = (button, on) => button.setAttribute("aria-pressed", String(Boolean(on)));
    press(this.diff, this.mark === "changed" && !this.heat);
    press(this.against, this.mark === "start" && !this.heat);
    press(this.tokens, this.heat);
    this.diff.disabled = before === null;
    this.against.disabled = start === null;
    this.tokens.hidden = !heatsOf(rows).length;
    this.tokens.replaceChildren(this.heat ? `Tokens by ${HEATS[this.heat].label}` : "Tokens", keycap("t"));
    this.tokens.title = "colour each token by its log-ratio, value or advantage";
    this.when.textContent = step === null ? "" : `${this.step} ${step}`;
    this.diff.title = before === null ? "these are the first answers" : `beside the answers of ${this.step} ${before}`;
    const first = start === "reference" ? "what the policy started from" : `the first answers, at ${this.step} ${start}`;
    this.against.title = start === null ? "these are the first answers" : `beside ${first}`;
    const then = this.mark === "changed" ? (before === null ? "" : `${this.step} ${before}`) : start === null ? "" : start === "reference" ? "at the start" : `${this.step} ${start}, the first`;
    this.then.textContent = then || "before";
    this.newer.textContent = step === null ? "now" : this.follow ? ", the newest" : "";
  }

  show(table, mark = this.mark, heat = mark === this.mark ? this.heat : null) {
    if (!table) return;
    if (mark === "off") heat = null;
    this.shown = table;
    this.mark = mark;
    this.heat = heatsOf(table.rows).includes(heat) ? heat : null;
    this.tools();
    const paired = Boolean(table.rows[0]?.pair);
    this.heads.hidden = this.body.hidden = this.choices.hidden = paired;
    this.title.hidden = !paired;
    if (paired) this.next.after(this.when, this.latest);
    else this.now.replaceChildren(this.when, this.newer, this.latest);
    this.pairs.root.hidden = !paired;
    if (paired) this.pairs.show(table);
    else this.rows(table);
    this.shows(this.follow ? null : table.step);
  }

  rows(table) {
    const scale = this.heat ? heatScale(table.rows, this.heat) : 0;
    this.legend.replaceChildren(...(this.heat ? [heatLegend(this.heat, scale)] : []));
    this.body.replaceChildren(...table.rows.map((row, i) => this.rowOf(row, i, scale)));
    this.markRow(0);
  }

  /** The row that keys act on, `by` further down. */
  markRow(by) {
    this.row = Math.min(Math.max(0, this.row + by), this.body.children.length - 1);
    [...this.body.children].forEach((node, i) => node.classList.toggle("at", i === this.row));
    if (by) this.body.children[this.row]?.scrollIntoView({ block: "nearest" });
  }

  toLabeller(row = this.row) {
    if (this.shown?.rows[row] && !this.shown.rows[row].pair) this.label(this.shown.index, row, this.mark !== "changed");
  }

  offerReasons(on) {
    if (on === this.explains) return;
    this.explains = on;
    this.show(this.shown);
  }

  /** Show which tokens a row's reward score comes from, which is asked for once; or as before. */
  why(row = this.row) {
    if (!this.explains || typeof this.shown?.rows[row]?.score !== "number") return;
    const key = `${this.shown.index}:${row}`;
    const known = this.whys.get(key);
    if (known) known.shown = !known.shown;
    if (!known || (known.shown && known.why.fault)) this.explain(this.shown.index, row);
    if (known) this.redraw(row);
  }

  takeWhy({ index, row, why }) {
    const key = `${index}:${row}`;
    this.whys.set(key, { shown: this.whys.get(key)?.shown ?? true, why });
    if (this.shown?.index === index) this.redraw(row);
  }

  /** One row anew. */
  redraw(row) {
    const scale = this.heat ? heatScale(this.shown.rows, this.heat) : 0;
    this.body.children[row]?.replaceWith(this.rowOf(this.shown.rows[row], row, scale));
    this.markRow(0);
  }

  /** An answer by the parts of its score; or what it waits for. */
  apart({ phase, fault, ...why }, response) {
    if (why.parts) return partsBlock(why, why.parts.reduce((most, part) => Math.max(most, Math.abs(part)), 0));
    return [textBlock(arrive(response)), h("p", { class: "wb-muted" }, fault ? arrive([fault.what, fault.fix].join(": ")) : `${phase}…`)];
  }

  /** What became of it. */
  labelled({ row, index, sent }) {
    if (this.shown?.index !== index) return;
    const cell = this.body.children[row]?.querySelector(".wbp-answer");
    cell?.querySelector(".wbp-sent")?.remove();
    cell?.append(h("p", { class: "wbp-sent", role: "status" }, sent ? "✓ waits for wb.label" : "it waits already, or has a label"));
  }

  rowOf(row, i, scale) {
    const before = row[AGAINST[this.mark] ?? "first"];
    const marked = this.mark !== "off" && !this.heat && before;
    const change = marked ? wordDiff(arrive(before.response), arrive(row.response)) : null;
    const answer = h("div", { class: "wbp-answer" });
    const known = this.whys.get(`${this.shown.index}:${i}`);
    if (known?.shown) answer.append(...this.apart(known.why, row.response));
    else if (this.heat && row.tokens?.[this.heat]) answer.append(...heatBlock(row.tokens, this.heat, scale));
    else answer.append(textBlock(arrive(row.response), change?.right ?? null, "ins"));
    const was = h("div", { class: "wbp-was" });
    if (before) was.append(textBlock(arrive(before.response), change?.left ?? null, "del"));
    else was.append(h("span", { class: "wb-none" }, "no earlier answer"));
    const button = h("button", { type: "button", class: "wb-link wbp-label", title: "send this answer and the earlier one to the labeller", "aria-label": `send row ${i + 1} to the labeller`, onclick: () => this.toLabeller(i) }, keycap("q"));
    const asked = h("div", { class: "wbp-prompt" }, textBlock(arrive(row.prompt)));
    const measured = FIGURES.filter(([name]) => typeof row[name] === "number");
    const why = this.explains && typeof row.score === "number" ? h("button", { type: "button", class: "wb-link wbp-label wbp-why-row", title: "which tokens this reward score comes from", "aria-label": `why the score of row ${i + 1}`, "aria-pressed": String(Boolean(known?.shown)), onclick: () => this.why(i) }, keycap("w")) : null;
    const figures = h("div", { class: "wbp-figures wb-num" }, ...measured.map((figure) => figureOf(figure, row, before)), row.last || row.first ? button : null, why);
    const node = h("li", {}, h("div", { class: `wbp-asked${measured.length ? "" : " bare"}` }, asked, figures), h("div", { class: "wbp-two" }, was, answer));
    node.addEventListener("click", () => this.markRow(i - this.row));
    return node;
  }
}

/** "reward score 1.44 ▲ 0.83": a figure of an answer, and how far it is from the earlier one's. */
function figureOf([name, words, help], row, before) {
  const was = before?.[name];
  const node = h("span", { class: "wbp-figure", title: help }, `${words} `, h("b", {}, fixed(row[name])));
  if (typeof was !== "number") return node;
  const rise = row[name] - was;
  if (Math.abs(rise) >= 0.005) node.append(h("small", { title: `before: ${fixed(was)}` }, ` ${rise > 0 ? "▲" : "▼"} ${fixed(Math.abs(rise))}`));
  return node;
}

/** Two decimals, a real minus, and no minus before zero. */
export const fixed = (value) => (Math.abs(value) >= 100 ? brief(value) : Math.abs(value) < 0.005 ? "0.00" : value.toFixed(2).replace("-", "−"));
