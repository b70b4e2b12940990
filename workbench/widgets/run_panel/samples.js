// The sample table: the same prompts over time, what changed since the last time marked word by word.
import { h, keycap } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { wordDiff } from "../kit/word_diff.js";
import { brief } from "../kit/plot.js";
import { HEATS, heatBlock, heatLegend, heatScale, heatsOf } from "./token_heat.js";

// what an answer's words are marked against: the row's field, and the words for it
const AGAINST = { changed: ["last", "the last time"], start: ["first", "at the start"] };

/** `fetch(index)` asks Python for the table of one watched step; `label` sends a row to be labelled. */
export class SampleTable {
  constructor(fetch, step, label) {
    this.fetch = fetch;
    this.label = label; // (index, row, against the first?): send a row to the labeller
    this.row = 0; // the one that keys act on
    this.step = step;
    this.newest = null; // as Python last told
    this.shown = null;
    this.follow = true; // stay at the newest
    this.wanted = -1; // index of the step that was chosen, shown or on its way
    this.seen = new Map(); // index -> table; a step's answers never change
    this.mark = "changed"; // or "start", or "off"
    this.heat = null; // or a name of HEATS
    this.build();
  }

  build() {
    this.back = h("button", { type: "button", class: "wb-quiet", "aria-label": "earlier", onclick: () => this.go(this.at() - 1) }, keycap("ArrowLeft"));
    this.next = h("button", { type: "button", class: "wb-quiet", "aria-label": "later", onclick: () => this.go(this.at() + 1) }, keycap("ArrowRight"));
    this.slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "which step" });
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.when = h("span", { class: "wbp-when wb-num" });
    this.latest = h("button", { type: "button", onclick: () => this.goNewest() }, "Newest", keycap("n"));
    this.diff = h("button", { type: "button", onclick: () => this.toggleDiff() }, "Changed words", keycap("d"));
    this.against = h("button", { type: "button", onclick: () => this.toggleStart() }, "Against the reference", keycap("r"));
    this.tokens = h("button", { type: "button", hidden: true, onclick: () => this.nextHeat() });
    this.legend = h("div", { class: "wbp-legends" });
    this.body = h("tbody");
    this.head = h("thead");
    this.root = h(
      "section",
      { class: "wbp-samples", "aria-label": "Sample answers", hidden: true },
      h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Answers to the same prompts"), this.back, this.slider, this.next, this.when, this.latest, h("span", { class: "wbp-gap" }), this.diff, this.against, this.tokens),
      this.legend,
      h("div", { class: "wbp-scroll" }, h("table", { class: "wbp-table" }, this.head, this.body)),
    );
  }

  /** The step that is shown, or was asked for and is on its way. */
  at() {
    return this.follow ? (this.newest?.count ?? 0) - 1 : this.wanted;
  }

  /** The newest table, or (`asked`) one that was fetched. */
  take(table, { newest }) {
    if (newest) {
      if (this.newest && table.count < this.newest.count) this.seen.clear(); // a resumed run was cut
      this.newest = table;
      this.slider.max = Math.max(0, table.count - 1);
      this.root.hidden = table.count === 0;
    }
    if (table.index >= 0) this.seen.set(table.index, table);
    if (newest ? this.follow : table.index === this.wanted) this.show(table);
    else this.tools();
  }

  go(index) {
    if (!this.newest?.count) return;
    this.wanted = Math.min(Math.max(0, index), this.newest.count - 1);
    this.follow = this.wanted === this.newest.count - 1;
    const known = this.follow ? this.newest : this.seen.get(this.wanted);
    if (known) return this.show(known);
    this.fetch(this.wanted);
    this.tools();
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
    this.next.disabled = this.latest.disabled = this.at() >= count - 1;
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
    this.tokens.title = "colour each token by its KL, value or advantage";
    this.when.textContent = step === null ? "" : `${this.step} ${step}`;
    this.diff.title = before === null ? "these are the first answers" : `words that are new since ${this.step} ${before}`;
    const first = start === "reference" ? "what the policy started from" : `the first answers, at ${this.step} ${start}`;
    this.against.title = start === null ? "these are the first answers" : `words that are not in the answers of ${first}`;
    this.against.firstChild.textContent = start === null || start === "reference" ? "Against the reference" : "Against the first";
  }

  show(table, mark = this.mark, heat = mark === this.mark ? this.heat : null) {
    if (!table) return;
    if (mark === "off") heat = null;
    this.shown = table;
    this.mark = mark;
    this.heat = heatsOf(table.rows).includes(heat) ? heat : null;
    this.tools();
    const scale = this.heat ? heatScale(table.rows, this.heat) : 0;
    this.legend.replaceChildren(...(this.heat ? [heatLegend(this.heat, scale)] : []));
    const gold = table.rows.some((row) => typeof row.gold === "number");
    const heads = ["Prompt", "Answer", "Score", ...(gold ? ["Gold"] : []), "KL"];
    const titles = { Score: "by the learned reward model [points]", Gold: "by the judge that PPO never sees, 0 to 1", KL: "to the reference, summed over the answer [nats]" };
    this.head.replaceChildren(h("tr", {}, ...heads.map((name) => h("th", { scope: "col", title: titles[name] ?? null }, name)), h("th", { title: "send this answer and the earlier one to the labeller" }, keycap("q"))));
    this.body.replaceChildren(...table.rows.map((row, i) => this.rowOf(row, i, gold, scale)));
    this.markRow(0);
  }

  /** The row that keys act on, `by` further down. */
  markRow(by) {
    this.row = Math.min(Math.max(0, this.row + by), this.body.children.length - 1);
    [...this.body.children].forEach((node, i) => node.classList.toggle("at", i === this.row));
    if (by) this.body.children[this.row]?.scrollIntoView({ block: "nearest" });
  }

  toLabeller(row = this.row) {
    if (this.shown?.rows[row]) this.label(this.shown.index, row, this.mark === "start");
  }

  /** What became of it. */
  labelled({ row, index, sent }) {
    if (this.shown?.index !== index) return;
    const cell = this.body.children[row]?.querySelector(".wbp-answer");
    cell?.querySelector(".wbp-sent")?.remove();
    cell?.append(h("p", { class: "wbp-sent", role: "status" }, sent ? "✓ waits for wb.label" : "it waits already, or has a label"));
  }

  rowOf(row, i, gold, scale) {
    const [field, when] = AGAINST[this.mark] ?? [];
    const before = field ? row[field] : null;
    const answer = h("td", { class: "wbp-answer" });
    if (this.heat && row.tokens?.[this.heat]) answer.append(...heatBlock(row.tokens, this.heat, scale));
    else {
      const change = before ? wordDiff(arrive(before.response), arrive(row.response)) : null;
      answer.append(textBlock(arrive(row.response), change?.right ?? null, "ins"));
      if (change?.left.some(([, gone]) => gone)) answer.append(removed(change.left, when));
    }
    const cells = [h("td", { class: "wbp-prompt" }, textBlock(arrive(row.prompt))), answer];
    const compared = this.mark === "start" ? row.first : row.last;
    for (const name of gold ? ["score", "gold", "kl"] : ["score", "kl"]) cells.push(number(row[name], compared?.[name]));
    const button = h("button", { type: "button", class: "wb-link wbp-label", "aria-label": `send row ${i + 1} to the labeller`, onclick: () => this.toLabeller(i) }, "Label");
    const node = h("tr", {}, ...cells, h("td", { class: "wbp-send" }, row.last || row.first ? button : null));
    node.addEventListener("click", () => this.markRow(i - this.row));
    return node;
  }
}

/** What was there (`when`: the last time, at the start) and is gone, folded away. */
function removed(left, when) {
  const before = h("div", { class: "wb-text" });
  for (const [part, gone] of left) before.append(gone ? h("del", {}, part) : part);
  return h("details", { class: "wbp-before" }, h("summary", {}, when), before);
}

function number(value, last) {
  const cell = h("td", { class: "wb-num" }, typeof value === "number" ? fixed(value) : "–");
  if (typeof value !== "number" || typeof last !== "number") return cell;
  const rise = value - last;
  const sign = Math.abs(rise) < 0.005 ? "±0" : `${rise > 0 ? "▲" : "▼"} ${fixed(Math.abs(rise))}`;
  cell.append(h("small", { title: `before: ${fixed(last)}` }, sign));
  return cell;
}

/** Two decimals, a real minus, and no minus before zero. */
const fixed = (value) => (Math.abs(value) >= 100 ? brief(value) : Math.abs(value) < 0.005 ? "0.00" : value.toFixed(2).replace("-", "−"));
