// Before and after: answers of several models to one prompt, side by side or as a table.
import { guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";
import { wordDiff } from "../kit/word_diff.js";

const NAMES_OF = { gold: "gold score", score: "reward score" };
const SORTS_OF = { given: "in the order given", up: "largest gain first", down: "largest loss first" };
const AGAINST = "against"; // where a judge and the person see it otherwise, first
const NONE = 1e-6;

export class ComparisonView {
  /** `rows`: the message with what is shown, where it is here already; else it is asked for. */
  constructor(model, el, rows = null) {
    this.model = model;
    this.view = newId();
    this.data = null;
    this.order = [];
    this.sort = "given";
    this.marked = true;
    this.table = false;
    this.build();
    el.append(this.root);
    this.onMessage = (message) => message.to === this.view && { rows: () => this.take(message), queued: () => this.queued(message) }[message.type]?.();
    this.onSelected = () => this.select(this.order.indexOf(model.get("selected")));
    model.on("msg:custom", this.onMessage);
    model.on("change:selected", this.onSelected);
    this.showTools();
    if (rows) return this.take(rows);
    this.ready();
    this.again = setInterval(() => (this.data ? clearInterval(this.again) : this.ready()), 3000);
  }

  close() {
    clearInterval(this.again);
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:selected", this.onSelected);
  }

  ready() {
    this.model.send({ type: "ready", view: this.view });
  }

  build() {
    this.means = h("div", { class: "wbc-means" });
    this.results = h("div", { class: "wbc-results", hidden: true });
    this.only = null; // the judge whose disagreements alone are listed
    this.allRows = h("button", { type: "button", hidden: true, onclick: () => this.listOnly(null) });
    this.measure = h("select", { "aria-label": "measure of the gain", onchange: () => this.resort() });
    this.sorts = h("select", { "aria-label": "order", onchange: () => this.resort() }, ...Object.entries(SORTS_OF).map(([value, name]) => h("option", { value }, name)));
    this.diff = h("button", { type: "button", onclick: () => this.toggleDiff() }, "Changed words", keycap("d"));
    this.form = h("button", { type: "button", onclick: () => this.toggleTable() });
    const about = { type: "button", hidden: true, title: "to be judged blind: wb.label offers it first", onclick: () => this.send() };
    this.queue = h("button", about, "To the labeller", keycap("q"));
    this.note = h("span", { class: "wbc-said", role: "status" });
    const tools = h("div", { class: "wbc-bar" }, this.sorts, this.measure, this.allRows, h("span", { class: "wbc-gap" }), this.note, this.queue, this.diff, this.form);
    this.list = h("div", { class: "wbc-list", role: "listbox", "aria-label": "prompts", tabindex: 0, "data-lm-suppress-shortcuts": "true" });
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.select(Number(option.dataset.at));
    });
    this.detail = h("div", { class: "wbc-detail", "aria-live": "polite" });
    this.pair = h("div", { class: "wbc-side" }, this.list, this.detail);
    this.grid = h("div", { class: "wbc-scroll", hidden: true });
    this.root = h("section", { class: "wb wbc", "aria-label": "Compare answers" }, this.means, this.results, tools, this.pair, this.grid);
    guardKeys(this.root, (key) => this.press(key));
  }

  press(key) {
    const last = this.order.length - 1;
    const acts = {
      arrowdown: () => this.select(Math.min(last, this.at + 1)),
      arrowup: () => this.select(Math.max(0, this.at - 1)),
      j: () => this.select(Math.min(last, this.at + 1)),
      k: () => this.select(Math.max(0, this.at - 1)),
      home: () => this.select(0),
      end: () => this.select(last),
      d: () => this.toggleDiff(),
      t: () => this.toggleTable(),
      q: () => this.send(),
    };
    const act = this.data && acts[key.toLowerCase()];
    act?.();
    return Boolean(act);
  }

  take(message) {
    this.data = message;
    this.measure.replaceChildren(...message.measures.map((name) => h("option", { value: name }, `by ${NAMES_OF[name]}`)));
    this.measure.hidden = message.measures.length < 2;
    this.sorts.hidden = !message.measures.length;
    const { against = {} } = message;
    this.showResults(message);
    this.queue.hidden = !message.queues;
    if (Object.keys(against).length && !this.sorts.querySelector(`[value=${AGAINST}]`))
      this.sorts.append(h("option", { value: AGAINST }, "judged otherwise first"));
    this.at = 0;
    this.resort();
  }

  /** Win rates as bars with their intervals, a row for each judge; the same in words on demand. */
  showResults({ duels = [], told: sentences = [] }) {
    this.results.hidden = !duels.length;
    const blocks = duels.map(({ model, against, judges }) => {
      const about = h("span", { class: "wb-muted" }, "win rate; a tie is half a win; the line is the 95 % interval");
      const title = h("h4", {}, h("b", {}, arrive(model)), ` against ${arrive(against)} `, about);
      return h("div", { class: "wbc-duel" }, title, ...judges.map((judge) => this.judgeRow(judge)));
    });
    const lines = h("ul", {}, ...sentences.map((line) => h("li", {}, arrive(line))));
    this.results.replaceChildren(...blocks, h("details", {}, h("summary", {}, "In words, with the sign tests"), lines));
  }

  judgeRow({ by, rate, low, high, wins, ties, losses, against_you: against, of }) {
    const name = h("span", { class: "wbc-judge" }, by.charAt(0).toUpperCase() + by.slice(1));
    if (rate === null) return h("div", { class: "wbc-rate" }, name, h("span", { class: "wb-muted" }, "nothing is judged yet"));
    const percent = (share) => `${Math.round(100 * share)} %`;
    const words = `${percent(rate)}, 95 % interval ${percent(low)} to ${percent(high)}`;
    const fill = h("i", { class: `wbc-fill ${by === "you" ? "you" : ""}` });
    const range = h("i", { class: "wbc-range" });
    fill.style.width = `${100 * rate}%`;
    Object.assign(range.style, { left: `${100 * low}%`, width: `${100 * (high - low)}%` });
    const track = h("div", { class: "wbc-track", role: "img", "aria-label": words, title: words }, fill, h("i", { class: "wbc-half" }), range);
    const figures = h("span", { class: "wb-num" }, h("b", {}, percent(rate)), h("span", { class: "wb-muted" }, `  ${wins} won, ${ties} tied, ${losses} lost`));
    const row = h("div", { class: "wbc-rate" }, name, track, figures);
    if (against === undefined) return row;
    const open = h("button", { type: "button", class: "wb-link", onclick: () => this.listOnly(by) }, `against you on ${against} of ${of}`);
    open.disabled = !against;
    row.append(open);
    return row;
  }

  /** List only what a judge sees otherwise than the person; null: all prompts. */
  listOnly(judge) {
    this.only = judge;
    this.allRows.hidden = !judge;
    this.allRows.replaceChildren(`only where the ${judge} is against you ✕`);
    this.resort();
    this.select(0);
    this.list.focus({ preventScroll: true });
  }

  gain(row) {
    const name = this.measure.value;
    if (!name) return null;
    return row.answers.at(-1)[name] - row.answers[0][name];
  }

  resort() {
    const open = this.model.get("selected");
    const { rows } = this.data;
    this.sort = this.sorts.value;
    const listed = this.only && new Set(this.data.against[this.only]);
    this.order = rows.map((_, i) => i).filter((i) => !listed || listed.has(i));
    const way = { up: -1, down: 1 }[this.sort];
    if (way) this.order.sort((a, b) => way * (this.gain(rows[a]) - this.gain(rows[b])) || a - b);
    if (this.sort === AGAINST) this.order.sort((a, b) => this.opposed(b).length - this.opposed(a).length || a - b);
    this.showMeans();
    this.showList();
    this.select(Math.max(0, this.order.indexOf(open)));
    if (this.table) this.showTable();
  }

  /** Which judges see a row otherwise than the person. */
  opposed(index) {
    return Object.entries(this.data.against ?? {}).filter(([, rows]) => rows.includes(index)).map(([name]) => name);
  }

  /** What the person said of a row, and who is against it, as chips. */
  verdict(index) {
    const verdict = this.data.said?.[index];
    if (this.data.said === undefined) return [];
    if (!verdict) return [h("span", { class: "wb-chip" }, "not judged")];
    const best = verdict.best.map((model) => arrive(this.data.labels[model])).join(", ");
    const words = best ? `you: ${best}` : { same: "same text", both_bad: "you: both bad" }[verdict.kind] ?? "you: tie";
    const chips = [h("span", { class: "wb-chip blue" }, words)];
    return [...chips, ...this.opposed(index).map((name) => h("span", { class: "wb-chip orange", title: `the ${name} prefers another one` }, `≠ ${name}`))];
  }

  showMeans() {
    const { labels, means, measures, verdicts, rows, count } = this.data;
    const cards = labels.map((label, i) => {
      const figures = measures.map((name) => h("span", { class: "wb-num" }, h("b", {}, means[i][name].toFixed(3).replace("-", "−")), ` ${NAMES_OF[name]}`));
      return h("div", { class: `wbc-mean m${i}` }, h("span", { class: "wbc-model" }, arrive(label)), ...figures);
    });
    const name = this.measure.value;
    const shown = rows.length < count ? `the first ${rows.length} of ${count} prompts` : `${count} prompts`;
    const words = verdicts[name];
    const gains = words ? `${arrive(labels.at(-1))} is better on ${words.better}, the same on ${words.same}, worse on ${words.worse} by ${NAMES_OF[name]}` : "";
    this.means.replaceChildren(...cards, h("p", { class: "wb-muted wbc-told" }, `Means over ${shown}. ${gains}`));
  }

  showList() {
    const { rows } = this.data;
    const options = this.order.map((index, at) =>
      h("div", { role: "option", id: `${this.view}-${at}`, "data-at": at, class: "wbc-option" }, h("span", { class: "wbc-prompt" }, arrive(rows[index].prompt)), this.opposed(index).length ? h("span", { class: "wb-chip orange", title: "judged otherwise by a model" }, "≠") : null, gainChip(this.gain(rows[index]))),
    );
    this.list.replaceChildren(...options);
  }

  select(at) {
    if (!this.data || at < 0) return;
    this.at = at;
    for (const option of this.list.children) option.setAttribute("aria-selected", String(Number(option.dataset.at) === at));
    this.list.setAttribute("aria-activedescendant", `${this.view}-${at}`);
    keepInSight(this.list, this.list.children[at]);
    const index = this.order[at];
    if (this.model.get("selected") !== index) {
      this.model.set("selected", index);
      this.model.save_changes();
    }
    this.showDetail(this.data.rows[index]);
    for (const line of this.grid.querySelectorAll("tbody tr")) line.setAttribute("aria-selected", String(Number(line.dataset.index) === index));
  }

  showDetail(row) {
    const answers = this.answers(row).map((block, i) =>
      h("article", { class: `wbc-answer m${i}` }, h("header", {}, h("span", { class: "wbc-model" }, arrive(this.data.labels[i])), ...this.figures(row.answers[i])), block),
    );
    const where = h("span", { class: "wb-label" }, `Prompt ${this.at + 1} of ${this.order.length}`);
    const keys = h("span", { class: "wb-muted wbc-keys" }, keycap("ArrowUp"), keycap("ArrowDown"), " next prompt");
    this.detail.replaceChildren(h("div", { class: "wbc-where" }, where, gainChip(this.gain(row)), ...this.verdict(this.order[this.at]), h("span", { class: "wbc-gap" }), keys), h("div", { class: "wbc-asked" }, textBlock(arrive(row.prompt))), h("div", { class: "wbc-answers" }, ...answers));
  }

  figures(answer) {
    return this.data.measures.map((name) => h("span", { class: "wb-num wb-muted", title: NAMES_OF[name] }, `${NAMES_OF[name]} ${answer[name].toFixed(2).replace("-", "−")}`));
  }

  /** One block a model; against the first one's words where that is asked for. */
  answers(row) {
    const texts = row.answers.map((answer) => arrive(answer.text));
    if (!this.marked || texts.length < 2) return texts.map((text) => textBlock(text));
    const diffs = texts.slice(1).map((text) => wordDiff(texts[0], text));
    const first = texts.length === 2 && diffs[0] ? textBlock(texts[0], diffs[0].left, "del") : textBlock(texts[0]);
    return [first, ...texts.slice(1).map((text, i) => textBlock(text, diffs[i]?.right ?? null, "ins"))];
  }

  /** Send the row that is open to the labeller's queue. */
  send() {
    if (this.data.queues) this.model.send({ type: "queue", index: this.order[this.at], view: this.view });
  }

  /** What became of it. */
  queued({ index, sent, fault }) {
    const prompt = `prompt ${this.order.indexOf(index) + 1}`;
    this.note.classList.toggle("refused", Boolean(fault));
    this.note.textContent = fault ? arrive(fault.what) : sent ? `✓ ${prompt} waits for wb.label` : `${prompt} waits already, or has a label`;
  }

  toggleDiff() {
    this.marked = !this.marked;
    this.select(this.at);
    if (this.table) this.showTable();
    this.showTools();
  }

  toggleTable() {
    this.table = !this.table;
    this.pair.hidden = this.table;
    this.grid.hidden = !this.table;
    if (this.table) this.showTable();
    this.showTools();
  }

  showTools() {
    this.diff.setAttribute("aria-pressed", String(this.marked));
    this.form.replaceChildren(this.table ? "One by one" : "As a table", keycap("t"));
  }

  showTable() {
    const { rows, labels } = this.data;
    const heads = ["Prompt", ...labels.map(arrive), "Gain"].map((name) => h("th", { scope: "col" }, name));
    const lines = this.order.map((index, at) => {
      const row = rows[index];
      const cells = this.answers(row).map((block, i) => h("td", {}, block, h("div", { class: "wbc-small" }, ...this.figures(row.answers[i]))));
      const line = h("tr", { "data-index": index, "aria-selected": String(at === this.at) }, h("td", { class: "wb-muted" }, textBlock(arrive(row.prompt))), ...cells, h("td", { class: "wb-num" }, gainChip(this.gain(row))));
      line.addEventListener("click", () => this.select(at));
      return line;
    });
    this.grid.replaceChildren(h("table", { class: "wbc-table" }, h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...lines)));
  }
}

/** "+0.35" with a colour and a sign: never by colour alone. */
function gainChip(gain) {
  if (gain === null) return null;
  const same = Math.abs(gain) < NONE;
  const words = same ? "±0" : `${gain > 0 ? "+" : "−"}${Math.abs(gain).toFixed(2)}`;
  return h("span", { class: `wb-chip wb-num ${same ? "" : gain > 0 ? "green" : "red"}`, title: "gain: last model minus first" }, words);
}

/** Scroll only the list, never the notebook. */
function keepInSight(list, option) {
  if (!option) return;
  const top = option.offsetTop - list.offsetTop;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + option.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top + option.offsetHeight - list.clientHeight;
}
