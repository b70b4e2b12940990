// All runs in a table; the picked ones beside each other: curves, settings, answers.
import { cutOff, guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { brief, lookOf, packedPlotly, pagePlotly, stroke, watchTheme } from "../kit/plot.js";
import { wordDiff } from "../kit/word_diff.js";
import { Curves } from "../run_panel/curves.js";

const POLL = 3000; // ms
const SILENCE = 15_000; // ms without a word before the view says that it stands still
const MOST = 6; // as in runs_view.py
const SIGNS = { starting: ["○", "blue"], running: ["●", "green"], paused: ["Ⅱ", "orange"], stopped: ["■", ""], finished: ["✓", "green"], failed: ["✕", "red"], unreadable: ["?", "red"] };
const COLUMNS = [
  ["name", "Run"],
  ["kind", "Kind"],
  ["state", "State"],
  ["model", "Model"],
  ["data", "Data"],
  ["score", "Reward score"],
  ["gold", "Gold score"],
  ["kl", "KL"],
  ["loss", "Loss"],
  ["accuracy", "Accuracy"],
  ["heldout_loss", "Held-out loss"],
  ["heldout_accuracy", "Held-out accuracy"],
  ["best", "Best"],
  ["started", "When"],
];
const FIGURES = COLUMNS.slice(5, 13).map(([name]) => name);

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
    this.clock = setInterval(() => this.tick(), POLL);
    this.send({ type: "ready" });
  }

  close() {
    this.gone.abort();
    clearInterval(this.clock);
    this.endTheme();
    this.plots.close();
    this.model.off("msg:custom", this.onMessage);
  }

  send(message) {
    this.model.send({ ...message, seen: this.digests, view: this.view });
  }

  tick() {
    const gone = cutOff(this.root);
    this.standstill.hidden = document.hidden || !(gone || Date.now() - this.heard >= SILENCE);
    if (!document.hidden && !gone) this.send({ type: "poll" });
  }

  take(message) {
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
    this.kinds = h("select", { "aria-label": "kind of run" }, ...[["", "every kind"], ["ppo", "PPO"], ["reward", "reward"], ["sft", "SFT"]].map(([value, words]) => h("option", { value }, words)));
    this.kinds.addEventListener("change", () => this.showRuns());
    this.count = h("span", { class: "wb-muted wb-num", role: "status" });
    this.clear = h("button", { type: "button", onclick: () => this.pick([]) }, "Pick none", keycap("c"));
    const bar = h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Runs"), this.filter, this.kinds, this.count, h("span", { class: "wbp-gap" }), this.clear);
    this.standstill = h("div", { class: "wb-banner warn", role: "alert", hidden: true }, h("p", {}, "No answer from the kernel: it is busy, was restarted or is gone, and this view stands still. Run the cell again."));
    this.complaint = h("div", { class: "wb-banner error", role: "alert", hidden: true }, h("p"), h("button", { type: "button", class: "wb-link", onclick: () => (this.complaint.hidden = true) }, "Dismiss"));
    this.head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "wbr-hidden" }, "picked")), ...COLUMNS.map(([name, words]) => h("th", { scope: "col", "data-by": name }, h("button", { type: "button", class: "wb-link", onclick: () => this.sort(name) }, words))));
    this.body = h("tbody");
    this.none = h("p", { class: "wbp-waiting wb-muted" }, "Reading the run folders …");
    this.hint = h("p", { class: "wbr-hint wb-muted" }, keycap("ArrowUp"), keycap("ArrowDown"), " move · ", keycap(" "), ` pick, up to ${MOST}, to compare · `, keycap("f"), " filter");
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
    this.root = h("section", { class: "wb wbp wbr", "aria-label": "All runs" }, this.still, bar, this.standstill, this.complaint, this.none, this.scroll, this.hint, this.beside);
    guardKeys(this.root, (key) => this.press(key));
  }

  press(key) {
    const acts = {
      arrowdown: () => this.move(1),
      arrowup: () => this.move(-1),
      " ": () => this.toggle(this.shown[this.at]),
      f: () => this.filter.focus(),
      c: () => this.pick([]),
      l: () => this.plots.toggleLog(),
      m: () => this.plots.toggleMore(),
    };
    const act = acts[key.toLowerCase()];
    act?.();
    return Boolean(act);
  }

  sort(by) {
    this.order = { by, down: this.order.by === by ? !this.order.down : by === "started" };
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
    if (rest.length === this.picked.length && rest.length >= MOST) return this.complain({ what: `${MOST} runs are picked, as many as there are colours`, fix: "take one away first" });
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

  showRuns() {
    const runs = this.parts.runs ?? [];
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
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
    const progress = run.total ? `${run.step} of ${run.total}` : `${run.step}`;
    const cells = {
      name: h("span", { title: `wb.open_run("${run.open}")` }, h("b", {}, run.name), run.open === run.name ? null : h("small", { class: "wb-muted" }, run.open)),
      state: h("span", {}, h("span", { class: `wb-chip ${colour}` }, `${sign} ${run.state}`), h("small", { class: "wb-muted wb-num" }, run.now ? `${progress} · ${run.now}` : progress)),
      best: run.best === null ? "" : h("span", {}, brief(run.best), h("small", { class: "wb-muted" }, `${run.best_of} at ${run.best_step}`)),
      started: h("time", { datetime: run.started ?? "", title: run.started ?? "" }, when(run.started)),
    };
    const row = h("tr", { "aria-selected": String(number >= 0) }, h("td", {}, box), ...COLUMNS.map(([name]) => h("td", { class: FIGURES.includes(name) ? "wb-num" : `wbr-${name}` }, cells[name] ?? figure(run[name]))));
    row.addEventListener("click", () => {
      this.at = this.shown.indexOf(run);
      this.toggle(run);
      this.root.focus({ preventScroll: true });
    });
    return row;
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
      const figures = ["score", "gold", "kl"].filter((name) => typeof answer[name] === "number").map((name) => `${name} ${brief(answer[name])}`);
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
