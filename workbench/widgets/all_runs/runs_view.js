// All runs in a table; the picked ones beside each other: curves, settings, answers.
import { cutOff, guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { brief, lookOf, packedPlotly, pagePlotly, stroke, watchTheme } from "../kit/plot.js";
import { wordDiff } from "../kit/word_diff.js";
import { Curves } from "../run_panel/curves.js";
import { Panel } from "../run_panel/panel_view.js";
import { FIGURES, fixed } from "../run_panel/samples.js";

const LOOK_AGAIN = 3000; // ms
const STANDS_STILL = 15_000; // ms without a word before the view says that it stands still
const MOST_PICKED = 6; // as in runs_view.py
const SIGNS = { starting: ["○", "blue"], running: ["●", "green"], paused: ["Ⅱ", "orange"], stopped: ["■", ""], finished: ["✓", "green"], failed: ["✕", "red"], unreadable: ["?", "red"] };
const COLUMNS = [
  ["name", "Run"],
  ["state", "State"],
  ["seconds", "Took"],
  ["score", "Reward score"],
  ["gold", "Gold score"],
  ["kl", "KL"],
  ["loss", "Loss"],
  ["accuracy", "Accuracy"],
  ["heldout_loss", "Held-out loss"],
  ["heldout_accuracy", "Held-out accuracy"],
  ["best", "Best"],
  ["note", "Note"],
  ["tags", "Tags"],
  ["kind", "Kind"],
  ["model", "Model"],
  ["data", "Data"],
  ["started", "When"],
];
const NUMBERS = ["seconds", "score", "gold", "kl", "loss", "accuracy", "heldout_loss", "heldout_accuracy", "best"];
const WRITTEN = { note: ["e", "a note …"], tags: ["t", "words, with commas"] };

/** What a run's panel takes for its widget: its messages go through the table's own. */
class PanelModel {
  constructor(send) {
    this.send = send;
    this.listeners = new Set();
  }

  on(_event, listener) {
    this.listeners.add(listener);
  }

  off(_event, listener) {
    this.listeners.delete(listener);
  }

  get() {
    return "";
  }

  take(message) {
    [...this.listeners].forEach((listener) => listener(message));
  }
}

export default class RunsTable {
  constructor(model, el) {
    this.model = model;
    this.view = newId();
    this.parts = {};
    this.digests = {};
    this.picked = [];
    this.at = 0;
    this.order = { by: "started", down: true };
    this.kind = "";
    this.heard = Date.now();
    this.gone = new AbortController();
    this.build();
    el.append(this.root);
    this.onMessage = (message) => this.take(message);
    model.on("msg:custom", this.onMessage);
    this.endTheme = watchTheme(() => requestAnimationFrame(() => this.newLook()));
    this.clock = setInterval(() => this.tick(), LOOK_AGAIN);
    this.send({ type: "ready" });
  }

  close() {
    this.gone.abort();
    clearInterval(this.clock);
    this.closePanel();
    this.endTheme();
    this.plots.close();
    this.model.off("msg:custom", this.onMessage);
  }

  send(message) {
    this.model.send({ ...message, seen: this.digests, view: this.view });
  }

  tick() {
    const gone = cutOff(this.root);
    this.standstill.hidden = document.hidden || !(gone || Date.now() - this.heard >= STANDS_STILL);
    if (!document.hidden && !gone) this.send({ type: "poll" });
  }

  take(message) {
    if (message.type === "panel") {
      this.heard = Date.now();
      if (message.address === this.panel?.address) this.panel.model.take(message.message);
      return;
    }
    if (message.to !== this.view) return;
    this.heard = Date.now();
    this.standstill.hidden = true;
    if (message.type === "news") this.takeNews(message);
    if (message.type === "answers") this.showAnswers(message.answers);
    if (message.type === "fault" && message.key !== "plotly") this.complain(message.fault);
  }

  takeNews({ parts, digests, still }) {
    this.still.textContent = `.wb-still[data-panel="${still}"], .jp-OutputArea-child:has(.wb-still[data-panel="${still}"]) { display: none; }`;
    Object.assign(this.parts, parts);
    this.digests = digests;
    if (parts.deleted) this.showDeleted();
    if (parts.runs) this.showRuns();
    if (parts.picked) this.showPicked();
    if (parts.settings) this.showSettings();
    if (parts.answers && !this.wanted) this.showAnswers(parts.answers);
    const curves = Object.keys(parts).filter((name) => name.startsWith("curves "));
    if (curves.length || parts.picked) this.plots.begin(Object.assign({}, ...Object.keys(digests).filter((name) => name.startsWith("curves ")).map((name) => this.parts[name])));
  }

  complain(fault) {
    this.complaint.firstChild.textContent = [fault.what, fault.where, fault.fix].filter(Boolean).join(" · ");
    this.complaint.hidden = false;
  }

  // --- the page -------------------------------------------------------------------------------

  build() {
    this.filter = h("input", { type: "search", class: "wbr-filter", placeholder: "filter by name, model, state, data …", "aria-label": "filter the runs" });
    this.filter.addEventListener("input", () => this.showRuns());
    this.filter.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" && event.key !== "Enter") return;
      event.preventDefault(); // a search field would empty itself
      this.root.focus();
    });
    this.kinds = h("select", { "aria-label": "kind of run" }, ...[["", "every kind"], ["ppo", "PPO"], ["dpo", "DPO"], ["online_dpo", "online DPO"], ["reward", "reward"], ["sft", "SFT"]].map(([value, words]) => h("option", { value }, words)));
    this.kinds.addEventListener("change", () => this.showRuns());
    this.count = h("span", { class: "wb-muted wb-num", role: "status" });
    this.clear = h("button", { type: "button", onclick: () => this.pick([]) }, "Pick none", keycap("c"));
    this.undo = h("div", { class: "wb-banner", role: "status", hidden: true });
    this.opened = h("div", { class: "wbr-opened", hidden: true });
    const bar = h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Runs"), this.filter, this.kinds, this.count, h("span", { class: "wbp-gap" }), this.clear);
    this.standstill = h("div", { class: "wb-banner warn", role: "alert", hidden: true }, h("p", {}, "No answer from the kernel: it is busy, was restarted or is gone, and this view stands still. Run the cell again."));
    this.complaint = h("div", { class: "wb-banner error", role: "alert", hidden: true }, h("p"), h("button", { type: "button", class: "wb-link", onclick: () => (this.complaint.hidden = true) }, "Dismiss"));
    this.head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "wbr-hidden" }, "picked")), ...COLUMNS.map(([name, words]) => h("th", { scope: "col", "data-by": name, class: NUMBERS.includes(name) ? "wbr-number" : "" }, h("button", { type: "button", class: "wb-link", onclick: () => this.sort(name) }, words))));
    this.body = h("tbody");
    this.none = h("p", { class: "wbp-waiting wb-muted" }, "Reading the run folders …");
    this.hint = h("p", { class: "wbr-hint wb-muted" }, keycap("ArrowUp"), keycap("ArrowDown"), " move · ", keycap(" "), ` pick, up to ${MOST_PICKED}, to compare · `, keycap("o"), " open its panel · ", keycap("e"), " note · ", keycap("t"), " tags · ", keycap("Delete"), " delete · ", keycap("z"), " undo that · ", keycap("f"), " filter");
    this.scroll = h("div", { class: "wbr-scroll" }, h("table", { class: "wbp-table wbr-table" }, h("thead", {}, this.head), this.body));
    this.plots = new Curves();
    this.legend = h("div", { class: "wbr-legend" });
    this.settings = h("section", { class: "wbr-part", "aria-label": "Settings" });
    this.slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "answers up to which step" });
    this.slider.addEventListener("input", () => this.ask(Number(this.slider.value)));
    this.when = h("span", { class: "wbp-when wb-num" });
    this.answers = h("div", { class: "wbp-scroll" });
    this.samples = h("section", { class: "wbp-samples", "aria-label": "Answers", hidden: true }, h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Answers to the same prompts"), this.slider, this.when), this.answers);
    this.beside = h("div", { hidden: true }, this.legend, this.plots.root, this.settings, this.samples);
    this.still = h("style");
    this.root = h("section", { class: "wb wbp wbr", "aria-label": "All runs" }, this.still, bar, this.standstill, this.complaint, this.undo, this.none, this.scroll, this.hint, this.opened, this.beside);
    guardKeys(this.root, (key) => this.press(key));
  }

  press(key) {
    const acts = {
      arrowdown: () => this.move(1),
      arrowup: () => this.move(-1),
      " ": () => this.toggle(this.shown[this.at]),
      f: () => this.filter.focus(),
      c: () => this.pick([]),
      o: () => this.open(this.shown[this.at]),
      enter: () => this.open(this.shown[this.at]),
      e: () => this.write(this.shown[this.at], "note"),
      t: () => this.write(this.shown[this.at], "tags"),
      delete: () => this.remove(this.shown[this.at]),
      z: () => this.restore(this.parts.deleted?.at(-1)),
      l: () => this.plots.toggleLog(),
      m: () => this.plots.toggleMore(),
    };
    const act = acts[key.toLowerCase()];
    act?.();
    return Boolean(act);
  }

  sort(by) {
    this.order = { by, down: this.order.by === by ? !this.order.down : by === "started" || NUMBERS.includes(by) };
    this.showRuns();
  }

  move(by) {
    this.at = Math.min(Math.max(0, this.at + by), this.shown.length - 1);
    this.markRow();
    this.body.children[this.at]?.scrollIntoView({ block: "nearest" });
  }

  markRow() {
    [...this.body.children].forEach((row, i) => row.classList.toggle("at", i === this.at));
  }

  toggle(run) {
    if (!run) return;
    const rest = this.picked.filter((path) => path !== run.path);
    if (rest.length === this.picked.length && rest.length >= MOST_PICKED) return this.complain({ what: `${MOST_PICKED} runs are picked, as many as there are colours`, fix: "take one away first" });
    this.pick(rest.length === this.picked.length ? [...rest, run.path] : rest);
  }

  pick(paths) {
    this.picked = paths;
    this.wanted = null;
    this.complaint.hidden = true;
    this.showRuns();
    this.send({ type: "pick", addresses: paths });
    if (paths.length) this.loadPlotly();
  }

  async loadPlotly() {
    if (this.loading) return;
    this.loading = true;
    const ask = () => this.send({ type: "plotly", key: "plotly" });
    try {
      this.plots.start(await pagePlotly(() => packedPlotly(this.model, ask, this.gone.signal)));
    } catch (error) {
      if (!this.gone.signal.aborted) this.complain({ what: `The curves cannot be drawn: ${error.message}` });
    }
  }

  // --- one row: its panel, its note, its end ------------------------------------------------------

  open(run) {
    if (!run || run.state === "unreadable") return;
    const address = this.panel?.address;
    this.closePanel();
    if (address === run.path) return; // the second time closes it
    const model = new PanelModel((message) => this.send({ type: "panel", address: run.path, message }));
    const close = h("button", { type: "button", class: "wb-link", onclick: () => this.open(run) }, "Close this panel");
    const place = h("div");
    this.opened.replaceChildren(h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Panel of "), h("b", {}, arrive(run.open)), h("span", { class: "wbp-gap" }), close), place);
    this.opened.hidden = false;
    Panel.begin(model, []);
    this.panel = { address: run.path, model, view: new Panel(model, place) };
    this.opened.scrollIntoView({ block: "nearest" });
  }

  closePanel() {
    this.panel?.view.close();
    this.panel = null;
    this.opened?.replaceChildren();
    if (this.opened) this.opened.hidden = true;
  }

  /** A cell becomes a field: Enter or leaving it keeps what it says, Escape does not. */
  write(run, name) {
    if (!run || run.state === "unreadable") return;
    const cell = this.body.children[this.shown.indexOf(run)]?.querySelector(`.wbr-${name}`);
    if (!cell || this.writing) return;
    const field = h("input", { type: "text", "aria-label": `${name} of ${run.open}`, placeholder: WRITTEN[name][1] });
    field.value = arrive(run[name] ?? "");
    this.writing = field;
    const end = (kept) => {
      if (this.writing !== field) return;
      this.writing = null;
      if (kept && field.value !== (run[name] ?? "")) this.send({ type: "describe", address: run.path, [name]: field.value });
      this.showRuns();
      this.root.focus({ preventScroll: true });
    };
    field.addEventListener("blur", () => end(true));
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" && event.key !== "Enter") return;
      event.preventDefault();
      event.stopPropagation();
      end(event.key === "Enter");
    });
    field.addEventListener("click", (event) => event.stopPropagation());
    cell.replaceChildren(field);
    field.focus();
  }

  remove(run) {
    if (!run) return;
    if (this.panel?.address === run.path) this.closePanel();
    this.picked = this.picked.filter((path) => path !== run.path);
    this.send({ type: "delete", address: run.path });
  }

  restore(run) {
    if (run) this.send({ type: "restore", address: run.path });
  }

  showDeleted() {
    const last = this.parts.deleted.at(-1);
    this.undo.hidden = !last;
    if (!last) return;
    const others = this.parts.deleted.length - 1;
    const words = `${last.open} is deleted${others ? `, and ${others} before it` : ""}; it can be had back until this kernel ends.`;
    this.undo.replaceChildren(h("p", {}, arrive(words)), h("button", { type: "button", onclick: () => this.restore(last) }, "Undo", keycap("z")));
  }

  showRuns() {
    if (this.writing) return; // what a person types is not taken from under their hands
    const runs = this.parts.runs ?? [];
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const used = new Set(COLUMNS.map(([name]) => name).filter((name) => name in WRITTEN || runs.some((run) => run[name] !== null && run[name] !== "")));
    this.shownColumns = COLUMNS.filter(([name]) => used.has(name));
    const text = (run) => COLUMNS.map(([name]) => run[name]).concat(run.open).join(" ").toLowerCase();
    const { by, down } = this.order;
    this.shown = runs
      .filter((run) => (!this.kinds.value || run.kind === this.kinds.value) && words.every((word) => text(run).includes(word)))
      .sort((a, b) => inOrder(a[by], b[by], down));
    this.at = Math.min(this.at, Math.max(0, this.shown.length - 1));
    this.count.textContent = this.shown.length === runs.length ? `${runs.length}` : `${this.shown.length} of ${runs.length}`;
    this.none.hidden = this.shown.length > 0;
    this.none.textContent = runs.length ? "No run is like that; empty the filter." : "There are no runs yet. wb.train_sft, wb.train_reward and wb.train_ppo make some; make demo makes the whole loop.";
    this.scroll.hidden = this.hint.hidden = !this.shown.length;
    this.clear.disabled = !this.picked.length;
    for (const cell of this.head.children) {
      cell.hidden = "by" in cell.dataset && !used.has(cell.dataset.by);
      const sorted = cell.dataset.by === by;
      cell.setAttribute("aria-sort", sorted ? (down ? "descending" : "ascending") : "none");
    }
    const focus = this.body.contains(document.activeElement);
    this.body.replaceChildren(...this.shown.map((run) => this.row(run)));
    this.markRow();
    if (focus) this.root.focus();
  }

  row(run) {
    const number = this.picked.indexOf(run.path);
    const box = h("input", { type: "checkbox", "aria-label": `compare ${run.open}`, tabindex: -1 });
    box.checked = number >= 0;
    const [sign, colour] = SIGNS[run.state] ?? ["", ""];
    const progress = run.state === "unreadable" ? "" : run.total ? `${run.step} of ${run.total}` : `${run.step}`;
    const cells = {
      name: h("span", { title: `wb.open_run("${run.open}")` }, h("b", {}, run.name), run.open === run.name ? null : h("small", { class: "wb-muted" }, run.open), h("small", { class: "wbr-acts" }, ...this.acts(run))),
      state: h("span", {}, h("span", { class: `wb-chip ${colour}` }, `${sign} ${run.state}`), h("small", { class: "wb-muted wb-num" }, [progress, run.now].filter(Boolean).join(" · "))),
      best: run.best === null ? "" : h("span", {}, brief(run.best), h("small", { class: "wb-muted" }, `${run.best_of} at ${run.best_step}`)),
      seconds: run.seconds === null ? "" : run.seconds < 10 ? `${brief(run.seconds)} s` : duration(run.seconds),
      note: this.written(run, "note"),
      tags: this.written(run, "tags"),
      started: h("time", { datetime: run.started ?? "", title: run.started ?? "" }, when(run.started)),
    };
    const row = h("tr", { "aria-selected": String(number >= 0) }, h("td", {}, box), ...this.shownColumns.map(([name]) => h("td", { class: `wbr-${name}${NUMBERS.includes(name) ? " wb-num wbr-number" : ""}` }, cells[name] ?? figure(run[name]))));
    row.addEventListener("click", (event) => {
      if (event.target.closest("button")) return;
      this.at = this.shown.indexOf(run);
      this.toggle(run);
      this.root.focus({ preventScroll: true });
    });
    return row;
  }

  written(run, name) {
    if (run.state === "unreadable") return "";
    const words = name === "tags" ? String(run.tags ?? "").split(", ").filter(Boolean).map((tag) => h("span", { class: "wb-chip" }, arrive(tag))) : [arrive(run.note ?? "")];
    const empty = !run[name];
    return h("button", { type: "button", class: `wb-link wbr-written${empty ? " empty" : ""}`, title: `write ${name} (${WRITTEN[name][0].toUpperCase()})`, "aria-label": `${name} of ${run.open}: ${run[name] || "none"}`, tabindex: -1, onclick: () => this.write(run, name) }, ...(empty ? [`+ ${name}`] : words));
  }

  acts(run) {
    const act = (words, title, does) => h("button", { type: "button", class: "wb-link", title, "aria-label": `${words} ${run.open}`, tabindex: -1, onclick: does }, words);
    const open = run.state === "unreadable" ? [] : [act("Open", "its panel, below this table (O)", () => this.open(run))];
    return [...open, act("Delete", "with an undo until this kernel ends (Delete)", () => this.remove(run))];
  }

  // --- the picked ones ------------------------------------------------------------------------

  showPicked() {
    const { picked } = this.parts;
    if (!picked) return;
    this.beside.hidden = !picked.names.length;
    const look = lookOf(this.root);
    this.keys = picked.names.map((name, i) => h("span", { class: "wbp-key" }, stroke(look.colours[i % 6], i), arrive(name)));
    this.legend.replaceChildren(...this.keys.map((key, i) => h("span", { class: "wbr-run" }, key.cloneNode(true), h("code", {}, `wb.open_run("${picked.open[i]}")`))));
    const updates = picked.kinds.every((kind) => kind === "ppo");
    this.plots.name(updates ? "update" : "step");
    this.plots.showCharts(picked.charts);
  }

  /** The strokes beside names have the theme's colours. */
  newLook() {
    this.showPicked();
    this.showSettings();
    if (this.table) this.showAnswers(this.table);
  }

  showSettings() {
    const rows = this.parts.settings ?? [];
    const different = rows.filter((row) => !row.same);
    const same = rows.filter((row) => row.same);
    const table = (some) => h("table", { class: "wbp-table wbr-settings" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), ...(this.keys ?? []).map((key) => h("th", { scope: "col" }, key.cloneNode(true))))), h("tbody", {}, ...some.map((row) => h("tr", {}, h("th", { scope: "row" }, row.name), ...row.values.map((value) => h("td", {}, value))))));
    const shown = different.length ? table(different) : h("p", { class: "wb-muted" }, rows.length ? "All settings are the same." : "");
    const rest = same.length ? h("details", {}, h("summary", {}, `${same.length} settings that are the same`), table(same)) : null;
    this.settings.replaceChildren(h("span", { class: "wb-label" }, this.picked.length > 1 ? "Settings that differ" : "Settings"), h("div", { class: "wbr-scroll" }, shown), ...(rest ? [rest] : []));
  }

  /** Answers up to `step`; asked for one at a time, so that a moving slider does not pile up questions. */
  ask(step) {
    this.wanted = { step };
    this.when.textContent = `up to ${step}`;
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.send({ type: "answers", step }), 80);
  }

  showAnswers(table) {
    const { step, most, steps, rows } = (this.table = table);
    this.samples.hidden = !rows.length;
    this.slider.max = most;
    this.slider.value = step;
    this.when.textContent = `up to ${step}`;
    const head = h("tr", {}, h("th", { scope: "col" }, "Prompt"), ...(this.keys ?? []).map((key, i) => h("th", { scope: "col" }, key.cloneNode(true), h("small", { class: "wb-muted wb-num" }, steps[i] === null ? " none" : ` at ${steps[i]}`))));
    this.answers.replaceChildren(h("table", { class: "wbp-table wbr-answers" }, h("thead", {}, head), h("tbody", {}, ...rows.map((row) => this.answerRow(row)))));
  }

  answerRow({ prompt, answers }) {
    const first = answers[0];
    const cells = answers.map((answer, i) => {
      if (!answer) return h("td", { class: "wb-muted" }, "–");
      const change = i && first ? wordDiff(arrive(first.response), arrive(answer.response)) : null;
      const figures = FIGURES.filter(([name]) => typeof answer[name] === "number").map(([name, words]) => `${words} ${fixed(answer[name])}`);
      return h("td", {}, textBlock(arrive(answer.response), change?.right ?? null, "ins"), h("small", { class: "wb-muted wb-num" }, figures.join(" · ")));
    });
    return h("tr", {}, h("td", { class: "wbp-prompt" }, textBlock(arrive(prompt))), ...cells);
  }
}

/** What has no value comes last, whichever way. */
function inOrder(a, b, down) {
  const [noA, noB] = [a, b].map((value) => value === null || value === undefined || value === "");
  if (noA || noB) return noA - noB;
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

/** A cell's value: numbers in three figures. */
function figure(value) {
  return typeof value === "number" ? brief(value) : arrive(value ?? "");
}

/** A day and a time, in the reader's own zone. */
function when(text) {
  const date = new Date(text ?? "");
  if (Number.isNaN(date.getTime())) return "–";
  const two = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
