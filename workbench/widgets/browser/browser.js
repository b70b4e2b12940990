// A table of pairs: the rows stay in Python, the page asks for the windows of rows that are seen.
import { Filters } from "./filters.js";
import { PairView } from "./pair_view.js";
import { arrive, grouped, guardKeys, h, keycap } from "../kit/safe_text.js";
import { columnsOf, drawHeads, drawRow, RowWindow } from "./rows.js";
import { TableBar } from "./table_bar.js";

const SPARE = 12; // rows fetched above and below the window
const COUNTING = 30; // ms between two requests to search on
const PAUSE = 180; // ms without typing before a search is sent
const SILENT = 5000; // ms without a first answer until the screen says so

export default class TableView {
  constructor(model, el) {
    this.model = model;
    this.info = null; // what Python last said about the table
    this.page = null; // the rows that are drawn, as Python sent them
    this.sent = 0; // number of the last request for rows; older answers are stale
    this.request = 0; // number of the last question
    this.wanted = null; // position of the pair that is to be read
    this.cursor = 0;
    this.anchor = 0;
    this.timers = {};
    this.build();
    el.append(this.root);
    this.onMessage = (message) => this.take(message);
    model.on("msg:custom", this.onMessage);
    this.watch = new ResizeObserver(() => this.info && this.resized());
    this.watch.observe(this.window.root);
    this.model.send({ type: "ready" });
    this.later("silent", SILENT, () => !this.info && this.warnSilent());
  }

  close() {
    this.model.off("msg:custom", this.onMessage);
    this.watch.disconnect();
    Object.values(this.timers).forEach(clearTimeout);
  }

  later(name, delay, action) {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(action, delay);
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  // --- building

  build() {
    this.window = new RowWindow(() => this.scrolled());
    this.pair = new PairView({
      read: (position, whole) => this.read(position, whole),
      move: (by) => this.move(by),
      shut: () => this.shut(),
      send: () => this.send(),
    });
    this.filters = new Filters({
      ask: () => this.ask(),
      uncertain: (on) => this.sortBy(on ? "uncertain" : "row", false),
    });
    this.bar = new TableBar({
      ask: () => this.ask(),
      typed: () => this.later("search", PAUSE, () => this.ask()),
      leave: () => this.focus(),
      select: (mode) => this.select(mode),
      more: this.filters.button,
    });
    this.note = h("div", { class: "wb-banner warn", role: "alert", hidden: true });
    this.toLabeller = hint(["q"], "to the labeller");
    this.sentNote = h("span", { class: "wbb-sent", role: "status" });
    this.hints = hints(this.toLabeller, this.sentNote);
    this.head = h("div", { class: "wbb-head wbb-grid", role: "row" });
    this.root = h(
      "div",
      { class: "wb wbb", role: "grid", "aria-label": "Preference pairs" },
      this.bar.root,
      this.filters.root,
      this.note,
      this.head,
      this.window.root,
      this.hints,
      this.pair.root,
    );
    guardKeys(this.root, (key, event) => this.key(key, event));
    this.window.rows.addEventListener("click", (event) => this.click(event));
    this.window.rows.addEventListener("mousedown", (event) => {
      if (event.shiftKey) event.preventDefault(); // it would select text
    });
  }

  // --- messages

  take(message) {
    const { type } = message;
    if (type === "table" && (message.req ?? this.request) === this.request) this.takeTable(message);
    else if (type === "rows") this.takeRows(message);
    else if (type === "wait" && message.req === this.request) {
      const reading = message.doing === "reading";
      this.bar.drawWait(reading ? "reading the texts" : "searching", message.fraction);
      this.later("wait", reading ? 200 : 10, () => this.ask(message.req));
    } else if (type === "found" && message.version === this.info?.version) this.takeFound(message);
    else if (type === "selection") {
      this.info.selected = message.selected;
      this.drawCounts();
      this.fetch();
    } else if (type === "pair" && message.position === this.wanted) this.pair.show(message);
    else if (type === "queued") this.takeSent(message);
    else if (type === "fault") this.warn(message);
  }

  /** What became of a pair that was sent to the labeller. */
  takeSent({ row, sent }) {
    const words = sent ? "waits for wb.label" : "waits already, or has a label";
    this.sentNote.textContent = `${sent ? "✓ " : ""}pair ${grouped(row)} ${words}`;
  }

  takeTable(info) {
    const first = this.info === null;
    const moved = !first && info.version !== this.info.version;
    this.info = info;
    this.note.hidden = true;
    this.toLabeller.hidden = !info.queues;
    this.pair.sends = info.queues;
    this.window.resize(info.shown);
    this.root.setAttribute("aria-rowcount", info.shown);
    if (first) {
      this.bar.search.value = info.question.query;
      this.filters.take(info.question);
      this.cursor = this.anchor = info.cursor;
    }
    if (moved) {
      this.cursor = this.anchor = 0;
      this.window.toTop();
      this.wanted = null;
      this.pair.show(null);
    }
    this.bar.drawFilters(info);
    this.filters.draw(info);
    this.fit();
    this.drawCounts();
    if (first && this.cursor) this.window.reveal(this.cursor);
    if (first && info.open !== null) this.read(info.open);
    this.fetch();
    if (info.counting) this.countOn();
    if (info.listing && info.total) this.later("sources", 500, () => this.ask());
  }

  /** More hits of the search that is shown. */
  takeFound({ shown, counting, fraction }) {
    const drawn = this.page ? this.page.start + this.page.rows.length : 0;
    const fills = drawn < Math.min(shown, this.window.first + this.window.room + SPARE);
    Object.assign(this.info, { shown, counting, fraction });
    this.window.resize(shown);
    this.root.setAttribute("aria-rowcount", counting ? -1 : shown);
    this.drawCounts();
    if (fills) this.fetch();
    if (counting) this.countOn();
  }

  countOn() {
    const { version } = this.info;
    this.later("more", COUNTING, () => this.model.send({ type: "more", version }));
  }

  takeRows(message) {
    if (message.req !== this.sent || message.version !== this.info?.version) return;
    this.page = message;
    this.drawRows();
  }

  drawRows() {
    const { start, rows } = this.page;
    const { query } = this.info.question;
    const draw = (row, i) => drawRow(row, start + i, this.columns.names, query);
    this.window.draw(start, rows.map(draw));
    this.drawCursor();
  }

  /** Ask for rows that answer what the controls say; a repeat after "wait" keeps its number. */
  ask(again) {
    if (!this.info || (again !== undefined && again !== this.request)) return;
    this.request = again ?? this.request + 1;
    const { sort, descending } = this.order ?? this.info.question;
    const question = {
      ...this.bar.value,
      ...this.filters.value,
      sort,
      descending,
    };
    this.model.send({ type: "ask", req: this.request, question });
  }

  fetch() {
    const start = Math.max(0, Math.floor(this.window.first) - SPARE);
    const count = Math.ceil(this.window.room) + 2 * SPARE;
    this.model.send({ type: "rows", req: ++this.sent, start, count });
  }

  select(mode, position = this.cursor) {
    this.model.send({ type: "select", mode, position, anchor: this.anchor });
    this.focus();
  }

  warnSilent() {
    const what = "The kernel does not answer.";
    this.warn({
      what,
      fix: "It may be busy with another cell, or gone: then run this cell again.",
    });
  }

  warn({ what, where, fix }) {
    this.note.hidden = false;
    this.note.replaceChildren(
      h("p", {}, [what, where, fix].filter(Boolean).map(arrive).join("\n")),
    );
  }

  // --- drawing

  /** Fit the columns to the width. */
  fit() {
    this.columns = columnsOf(this.info, this.root.clientWidth);
    this.root.classList.toggle("tight", this.columns.tight);
    this.root.style.setProperty("--wbb-columns", this.columns.template);
    const sortBy = (name) => this.sortBy(name);
    this.head.replaceChildren(h("span", {}), ...drawHeads(this.columns, this.info, sortBy));
  }

  resized() {
    this.fit();
    if (this.page) this.drawRows();
    this.fetch();
  }

  scrolled() {
    if (!this.info || this.timers.scroll) return;
    this.timers.scroll = setTimeout(() => {
      this.timers.scroll = null;
      this.fetch();
    }, 30);
  }

  drawCounts() {
    const { shown, total, counting } = this.info;
    this.bar.drawCounts(this.info);
    const reset = h("button", { onclick: () => this.reset() }, "Show all pairs");
    const nothing = "No pair matches this search and these filters.";
    this.window.empty.hidden = shown > 0 || counting;
    this.window.empty.replaceChildren(
      h("p", {}, total ? nothing : "There are no pairs in this table."),
      total ? reset : "",
    );
  }

  drawCursor() {
    for (const row of this.window.rows.children)
      row.classList.toggle("cursor", Number(row.dataset.position) === this.cursor);
  }

  // --- what a person does

  reset() {
    this.bar.clear();
    this.filters.clear();
    this.ask();
    this.focus();
  }

  sortBy(name, way = null) {
    const { sort, descending } = this.order ?? this.info.question;
    const turned = sort === name ? !descending : name === "gap";
    this.order = { sort: name, descending: way ?? turned };
    this.ask();
    this.focus();
  }

  read(position, whole = false) {
    this.wanted = position;
    this.model.send({ type: "open", position, whole });
    this.focus();
  }

  /** Send the pair at the cursor to the labeller's queue. */
  send() {
    if (this.info.shown) this.model.send({ type: "queue", position: this.cursor });
    this.focus();
  }

  shut() {
    this.wanted = null;
    this.model.send({ type: "shut" });
    this.pair.show(null);
    this.focus();
  }

  click(event) {
    const row = event.target.closest(".wbb-row");
    if (!row) return;
    this.cursor = Number(row.dataset.position);
    if (event.shiftKey) this.select("range");
    else {
      this.anchor = this.cursor;
      const toggles = event.target.closest(".tick") || event.ctrlKey || event.metaKey;
      this.select(toggles ? "toggle" : "only");
      if (!toggles) this.read(this.cursor);
    }
    this.drawCursor();
  }

  move(by, extend = false) {
    const last = this.info.shown - 1;
    if (last < 0) return;
    this.cursor = Math.max(0, Math.min(last, this.cursor + by));
    this.window.reveal(this.cursor);
    this.drawCursor();
    if (extend) this.select("range");
    else {
      this.anchor = this.cursor;
      if (this.wanted !== null) this.read(this.cursor);
    }
  }

  /** True when the key was ours. */
  key(key, event) {
    if (!this.info) return false;
    const page = Math.max(1, Math.floor(this.window.room) - 1);
    const far = Infinity;
    const steps = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -far,
      End: far,
    };
    const reading = this.wanted !== null;
    if (key in steps) this.move(steps[key], event.shiftKey);
    else if (key === "Enter" && this.info.shown) this.read(this.cursor);
    else if (key === " ") this.select("toggle");
    else if (key === "/") this.bar.search.select();
    else if (key === "d" && reading) this.pair.toggleDiff();
    else if (key === "e" && reading) this.pair.unfold();
    else if (key === "q" && this.info.queues) this.send();
    else if (key === "Escape" && reading) this.shut();
    else return false;
    return true;
  }
}

function hint(keys, text) {
  return h("span", {}, ...keys.map(keycap), ` ${text}`);
}

function hints(...more) {
  return h(
    "div",
    { class: "wbb-hints wb-muted" },
    hint(["ArrowUp", "ArrowDown"], "move"),
    hint(["Enter"], "read"),
    hint([" "], "select"),
    hint(["Shift", "ArrowDown"], "select more"),
    hint(["d"], "differences"),
    hint(["/"], "search"),
    hint(["Escape"], "back"),
    ...more,
  );
}
