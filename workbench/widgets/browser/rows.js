// The rows of the browser's table as they look, and the window through which they are seen.
import { CHIPS, signed } from "./pair_view.js";
import { arrive, grouped, h, visible } from "../kit/safe_text.js";

const ROW = 36; // pixels a row
const TALLEST = 12_000_000; // pixels; past this an element's height is not to be trusted

const HEADS = {
  row: ["#", "Sort by the order of the file"],
  prompt: ["Prompt", "Sort by the prompt's text"],
  first: ["Answer A", "Sort by the answer's length"],
  second: ["Answer B", "Sort by the answer's length"],
  label: ["Label", "Sort by the label that came with the data"],
  yours: ["Your labels", "Sort by the label in your store"],
  source: ["Source", "Sort by source"],
  gap: ["Length gap", "First answer's length minus the second's, in characters"],
  margin: ["Reward", "Reward margin: the score of the better answer minus the other's"],
  agreement: ["Agree", "Share of the annotators who chose what the majority chose"],
};

const NARROW = 900; // pixels; below this the texts get the room of lesser columns
const SLIM = 640; // pixels; below this there is room for the texts and the labels alone

/** The columns of a table of so many pixels that are shown, and how wide they are. */
export function columnsOf(info, width) {
  const narrow = width < NARROW;
  const slim = width < SLIM;
  const tight = narrow || info.scored; // the texts get the room of lesser columns
  const hidden = {
    yours: !info.yours,
    label: info.judged,
    row: slim,
    source: narrow,
    gap: slim,
    margin: !info.scored || (slim && info.yours),
    agreement: !info.shared || narrow,
  };
  const names = Object.keys(HEADS).filter((name) => !hidden[name]);
  const digits = grouped(info.total).length;
  const widths = {
    row: `${Math.max(48, 20 + 9 * digits)}px`,
    prompt: `minmax(${tight ? 80 : 110}px, 1fr)`,
    first: `minmax(${tight ? 88 : 120}px, 1.35fr)`,
    second: `minmax(${tight ? 88 : 120}px, 1.35fr)`,
    label: slim ? "86px" : "118px",
    yours: slim ? "90px" : "112px",
    source: tight ? "minmax(60px, 100px)" : "minmax(70px, 160px)",
    gap: tight ? "82px" : "124px",
    margin: slim ? "72px" : "98px",
    agreement: "70px",
  };
  return { names, tight, template: ["34px", ...names.map((name) => widths[name])].join(" ") };
}

/** The heads of the columns as buttons; `sortBy(name)` is what they do. */
export function drawHeads({ names, tight }, { question, judged }, sortBy) {
  const titles = judged ? { first: "Chosen", second: "Rejected" } : {};
  if (tight) titles.gap = "Gap";
  const direction = question.descending ? "descending" : "ascending";
  return names.map((name) => {
    const [title, help] = HEADS[name];
    const on = question.sort === name;
    const about = {
      class: `wbb-sort ${name}`,
      title: help,
      role: "columnheader",
      tabindex: "-1",
      "aria-sort": on ? direction : "none",
      onclick: () => sortBy(name),
    };
    const sign = on ? (question.descending ? "▼" : "▲") : "";
    const arrow = h("span", { class: "wbb-arrow", "aria-hidden": "true" }, sign);
    return h("button", about, titles[name] ?? title, arrow);
  });
}

/** One row as an element. `query` is marked where it is found. */
export function drawRow(row, position, names, query) {
  const cell = (name, ...nodes) =>
    h("div", { class: `wbb-cell ${name}`, role: "gridcell" }, ...nodes);
  const answer = (name, index) => {
    const better = row.better === index;
    const sign = h("span", { class: "wbb-better", title: "the better answer" }, "✓");
    const lesser = row.better !== null && !better ? " lesser" : "";
    return cell(name + lesser, better ? sign : "", marked(row[name], query));
  };
  const chip = (text, kind) =>
    text
      ? h("span", { class: `wb-chip ${kind}` }, visible(arrive(text)))
      : h("span", { class: "wb-muted" }, "–");
  const turn = row.turns > 1 ? h("span", { class: "wb-chip" }, `turn ${row.turns}`) : "";
  const more = row.more > 0 ? ` +${row.more}` : "";
  const cells = {
    row: () => cell("row wb-num wb-muted", grouped(row.row)),
    prompt: () => cell("prompt", turn, " ", marked(row.prompt, query)),
    first: () => answer("first", 0),
    second: () => answer("second", 1),
    label: () => cell("label", chip(row.label, CHIPS[row.kind] ?? ""), more),
    yours: () => cell("yours", chip(row.yours, row.yours === "disagrees" ? "orange" : "green")),
    source: () => cell("source wb-muted", visible(arrive(row.source))),
    gap: () => cell("gap wb-num", gap(row.gap)),
    margin: () => cell("margin wb-num", margin(row)),
    agreement: () =>
      cell("agreement wb-num", row.agreement === null ? "–" : `${Math.round(100 * row.agreement)} %`),
  };
  const about = {
    class: `wbb-row wbb-grid${row.selected ? " chosen" : ""}`,
    role: "row",
    "aria-selected": String(row.selected),
    "aria-rowindex": position + 1,
    "data-position": position,
  };
  const tick = cell("tick", h("span", { class: "wbb-tick" }));
  return h("div", about, tick, ...names.map((name) => cells[name]()));
}

/** Text of a cell, with what was searched for marked. */
function marked(text, query) {
  const shown = arrive(text);
  const wanted = query.trim().toLowerCase();
  const at = wanted ? shown.toLowerCase().indexOf(wanted) : -1;
  const out = h("bdi", { dir: "auto" });
  if (at < 0) {
    out.append(visible(shown, { edges: false }));
    return out;
  }
  const end = at + wanted.length;
  out.append(
    visible(shown.slice(0, at), { edges: false }),
    h("mark", {}, shown.slice(at, end)),
    visible(shown.slice(end), { edges: false }),
  );
  return out;
}

/** The reward margin; where the reward model prefers the other answer, a sign says so. */
function margin(row) {
  if (row.margin === null) return h("span", { class: "wb-muted" }, "–");
  if (!row.disagrees) return signed(row.margin);
  const title = "the reward model prefers the answer that the label does not";
  return h("span", { class: "wbb-against", title }, "≠ ", signed(row.margin));
}

/** The length gap as a number and a bar that goes by its sign: to the right where it is above 0. */
function gap(characters) {
  const share = Math.min(1, Math.log10(1 + Math.abs(characters)) / 4);
  const bar = h("i", { style: `width:${(50 * share).toFixed(1)}%` });
  const side = characters < 0 ? "second" : "first";
  const sign = characters > 0 ? "+" : characters < 0 ? "−" : "";
  return h(
    "span",
    {},
    h("span", { class: `wbb-gap ${side}`, "aria-hidden": "true" }, bar),
    sign + grouped(Math.abs(characters)),
  );
}

/** A tall scrolling box in which only the rows in sight exist. */
export class RowWindow {
  constructor(onScroll) {
    this.total = 0;
    this.start = 0; // position of the first row drawn
    this.space = h("div", { class: "wbb-space" });
    this.rows = h("div", { class: "wbb-rows", role: "rowgroup" });
    this.empty = h("div", { class: "wbb-empty", hidden: true });
    const scrolled = () => {
      this.settle();
      onScroll();
    };
    const about = { class: "wbb-body", tabindex: "-1", onscroll: scrolled };
    this.root = h("div", about, this.space, this.rows, this.empty);
  }

  resize(total) {
    this.total = total;
    this.space.style.height = `${Math.min(total * ROW, TALLEST)}px`;
  }

  toTop() {
    this.root.scrollTop = 0;
  }

  /** Rows that fit. */
  get room() {
    return this.root.clientHeight / ROW;
  }

  /** Position of the first row in sight, a fraction; past TALLEST the scroll bar is a scale. */
  get first() {
    const top = this.root.scrollTop;
    if (this.total * ROW <= TALLEST) return top / ROW;
    return (top / (TALLEST - this.root.clientHeight)) * (this.total - this.room);
  }

  draw(start, rows) {
    this.start = start;
    this.rows.replaceChildren(...rows);
    this.settle();
  }

  settle() {
    const y = this.root.scrollTop + (this.start - this.first) * ROW;
    this.rows.style.transform = `translateY(${y}px)`;
  }

  /** Scroll as little as brings a row into sight. */
  reveal(position) {
    const { first, room } = this;
    if (position >= first && position <= first + room - 1) return;
    const to = position < first ? position : position - room + 1;
    const whole = this.total * ROW <= TALLEST;
    const scale = (TALLEST - this.root.clientHeight) / (this.total - room);
    this.root.scrollTop = to * (whole ? ROW : scale);
  }
}
