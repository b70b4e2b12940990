// Why the score rose: one line of parts that opens into a table, an example beside each.
import { h } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { fixed } from "./samples.js";

/** "+0.60", with a real minus; no sign before zero. */
const withSign = (value) => (value >= 0.005 ? "+" : "") + fixed(value);

export class Rise {
  constructor() {
    this.step = "step";
    this.line = h("summary", {});
    this.body = h("tbody", {});
    this.from = h("p", { class: "wb-muted" });
    const heads = ["feature", "part", "", "before → after", "an answer before", "and after"];
    const table = h("table", { class: "wbp-table" }, h("thead", {}, h("tr", {}, ...heads.map((words) => h("th", { scope: "col" }, words)))), this.body);
    this.root = h("details", { class: "wbp-rise", hidden: true }, this.line, h("div", { class: "wbp-scroll" }, table), this.from);
  }

  /** `rise`: as watched_prompts.py makes it, or null; `address`: what wb.why_rose finds the run by. */
  show(rise, address) {
    this.root.hidden = !rise;
    if (!rise) return;
    const { first, last, total, rest, causes } = rise;
    const parts = [...causes, { name: "rest", part: rest }].flatMap(({ name, part }) => [`, ${arrive(name)} `, h("b", {}, withSign(part))]);
    const moved = Math.abs(total) < 0.005 ? "stayed" : total > 0 ? "rose" : "fell";
    this.line.replaceChildren(h("span", { class: "wb-num" }, `Why it ${moved}: of `, h("b", {}, withSign(total)), ...parts));
    const most = Math.max(...causes.map((one) => Math.abs(one.part)), Math.abs(rest)) || 1;
    const rows = [...causes, { name: "rest", part: rest, means: "what no feature tells", example: null }];
    this.body.replaceChildren(...rows.map((row) => this.row(row, most)));
    this.from.replaceChildren(
      `Mean reward score of the watched answers, ${this.step} ${first} to ${last}. A part is a feature's coefficient, from a regression over the answers to these prompts, times how far its mean moved; parts and rest add up. `,
      h("code", {}, `wb.why_rose("${address}")`), " is the page, between any two updates.",
    );
  }

  row({ name, part, means, example }, most) {
    const bar = h("span", { class: part < 0 ? "minus" : "plus", style: `width:${Math.round((50 * Math.abs(part)) / most)}%` });
    const answers = (example ?? [null, null]).map((one) => h("td", {}, ...(one ? [h("small", {}, `score ${fixed(one.score)}`), textBlock(arrive(one.response))] : [])));
    return h("tr", {}, h("th", { scope: "row" }, arrive(name)), h("td", { class: "wb-num" }, withSign(part)), h("td", { class: "wbp-rise-bar", "aria-hidden": "true" }, h("div", {}, bar)), h("td", {}, means), ...answers);
  }
}
