// The playground: one prompt, several models and temperatures, answers as they grow.
import { guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive, textBlock, visible } from "../kit/safe_text.js";
import { heatScale, partsBlock } from "../kit/token_heat.js";

const SOON = 120; // ms between two looks while something is to come
const LATE = 3000; // ms between two looks else: another view may have asked
const FULL = 1.0; // nats at which a token's mark is darkest
const MOST_BEST = 64;
const MOST_TOKENS = 4096; // that a person can ask for here
const STATES = { waits: "waits", answers: "answering…", stopped: "stopped", failed: "failed", done: "" };

export default class Playground {
  constructor(model, el) {
    this.model = model;
    this.view = newId();
    this.state = null;
    this.marked = true;
    this.apart = false; // answers by the parts of their scores
    this.build();
    el.append(this.root);
    this.take = (message) => message.type === "state" && message.to === this.view && this.show(message);
    model.on("msg:custom", this.take);
    this.tell({ type: "ready" });
  }

  close() {
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.take);
  }

  tell(message) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell({ type: "look" }), this.state?.busy ? SOON : LATE);
    try {
      this.model.send({ ...message, view: this.view });
    } catch {
      // the kernel is gone; what is here stays readable
    }
  }

  // --- building

  build() {
    const about = { rows: 2, placeholder: "Ask something", "aria-label": "prompt", dir: "auto" };
    this.prompt = h("textarea", about);
    this.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.root.focus();
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      this.ask(false);
      this.root.focus({ preventScroll: true });
    });
    this.system = h("input", { type: "text", placeholder: "Who the model is to be, and how it answers (a system prompt)", "aria-label": "system prompt", dir: "auto" });
    this.setUp = h("details", { class: "wbg-system" }, h("summary", {}, "System prompt"), this.system);
    this.turns = h("div", { class: "wbg-turns", hidden: true });
    this.anew = h("button", { type: "button", class: "wb-quiet", onclick: () => this.tell({ type: "anew" }), hidden: true }, "New conversation", keycap("n"));
    this.tokens = h("input", { type: "number", min: 1, max: MOST_TOKENS, step: 1, "aria-label": "answer length", title: "most tokens of an answer" });
    this.temperatures = h("input", { type: "text", value: "1.0", size: 9, "aria-label": "temperatures", title: "one or more, with commas: 0.3, 1.0" });
    this.bestOf = h("input", { type: "range", min: 0, max: 6, step: 1, value: 0, "aria-label": "best of n" });
    this.bestWords = h("output", { class: "wb-num" }, "1");
    this.bestOf.addEventListener("input", () => (this.bestWords.textContent = `${this.count}`));
    this.best = h("label", { class: "wbg-field" }, "Best of", this.bestOf, this.bestWords);
    this.go = h("button", { type: "button", onclick: () => this.ask(false) }, "Answer", keycap("Enter"));
    this.again = h("button", { type: "button", class: "wb-quiet", onclick: () => this.ask(true) }, "Another draw", keycap("r"));
    this.halt = h("button", { type: "button", class: "wb-quiet", onclick: () => this.tell({ type: "stop" }) }, "Stop", keycap("s"));
    this.marks = h("button", { type: "button", class: "wb-quiet", onclick: () => this.toggle() }, "KL by token", keycap("k"));
    this.whys = h("button", { type: "button", class: "wb-quiet", hidden: true, title: "which tokens a reward score comes from", onclick: () => this.why() }, "Why these scores", keycap("w"));
    this.queue = h("button", { type: "button", class: "wb-quiet", onclick: () => this.tell({ type: "queue" }) }, "Send to the labeller", keycap("q"));
    this.note = h("span", { class: "wbg-said", role: "status" });
    const fields = h("div", { class: "wbg-bar" }, h("label", { class: "wbg-field" }, "Temperature", this.temperatures), h("label", { class: "wbg-field" }, "At most", this.tokens, "tokens"), this.best, this.go, this.again, this.halt, this.marks, this.whys, this.queue, this.anew, this.note);
    this.columns = h("div", { class: "wbg-columns", "aria-live": "polite" });
    this.root = h("section", { class: "wb wbg", "aria-label": "Playground" }, h("div", { class: "wbg-prompt" }, this.setUp, this.turns, this.prompt), fields, this.columns);
    this.cards = [];
    guardKeys(this.root, (key) => this.press(key));
    this.toggle(true);
  }

  get count() {
    return Math.min(MOST_BEST, 2 ** Number(this.bestOf.value));
  }

  press(key) {
    const acts = { Enter: () => this.ask(false), r: () => this.ask(true), s: () => this.tell({ type: "stop" }), k: () => this.toggle(), w: () => this.why(), q: () => this.tell({ type: "queue" }), n: () => this.tell({ type: "anew" }), "/": () => this.prompt.focus() };
    const act = acts[key.length === 1 ? key.toLowerCase() : key];
    const column = /^[1-9]$/.test(key) ? Number(key) - 1 : null;
    if (column !== null && this.state?.stored && this.state.columns[column]) this.tell({ type: "prefer", column });
    else if (act) act();
    else return false;
    return true;
  }

  ask(again) {
    const temperatures = this.temperatures.value.split(",").map((text) => text.trim()).filter(Boolean).map(Number);
    if (!temperatures.length || temperatures.some(Number.isNaN)) {
      this.note.textContent = "Give temperatures as numbers: 0.3, 1.0";
      return;
    }
    const length = Number(this.tokens.value);
    if (!Number.isInteger(length) || length < 1 || length > MOST_TOKENS) {
      this.note.textContent = `An answer has 1 to ${MOST_TOKENS} tokens`;
      return;
    }
    const best_of = this.best.hidden ? 1 : this.count;
    this.tell({ type: "ask", prompt: this.prompt.value, system: this.system.value, length, temperatures, best_of, again });
  }

  /** Show the answers by the parts of their scores, which are asked for once; or as before. */
  why() {
    if (this.whys.hidden || this.whys.disabled) return;
    this.apart = !this.apart;
    const without = this.state.columns.map((column, at) => (scored(column) && !column.why ? at : -1)).filter((at) => at >= 0);
    if (this.apart && without.length) this.tell({ type: "why", columns: without });
    this.drawn = [];
    this.show(this.state);
  }

  toggle(on = !this.marked) {
    this.marked = on;
    this.marks.setAttribute("aria-pressed", String(on));
    this.drawn = [];
    if (this.state) this.show(this.state);
  }

  // --- showing

  show(state) {
    if (this.state && state.serial < this.state.serial) return;
    const first = !this.state;
    this.state = state;
    if (first) {
      this.prompt.value = arrive(state.prompt);
      this.system.value = arrive(state.system);
      this.setUp.open = Boolean(state.system);
      this.tokens.value = state.length;
    }
    this.showTurns(state.turns);
    this.best.hidden = !state.scored;
    this.queue.hidden = !state.stored;
    this.whys.hidden = !(state.explains && state.scored);
    this.whys.disabled = state.busy || !state.columns.some(scored);
    if (!state.columns.some(scored)) this.apart = false; // other answers are on their way
    this.whys.setAttribute("aria-pressed", String(this.apart));
    this.halt.disabled = !state.busy;
    this.go.disabled = this.again.disabled = state.busy;
    this.note.textContent = arrive(state.said);
    while (this.cards.length > state.columns.length) this.cards.pop().remove();
    if (state.columns.length) this.columns.querySelector(".wbg-empty")?.remove();
    state.columns.forEach((column, at) => this.showColumn(column, at));
    if (!state.columns.length && !this.columns.children.length) {
      const names = state.models.map(arrive).join(", ");
      const first = state.turns.length ? "write what you say next and press Enter." : "write a prompt and press Enter. The first answer waits until the models are loaded.";
      this.columns.append(h("p", { class: "wb-muted wbg-empty" }, `${names}: ${first}`));
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell({ type: "look" }), state.busy ? SOON : LATE);
  }

  /** The conversation so far, each turn with who said it. */
  showTurns(turns) {
    const drawing = JSON.stringify(turns);
    if (drawing === this.talk) return;
    const gone_on = this.talk !== undefined && turns.length;
    this.talk = drawing;
    this.turns.hidden = this.anew.hidden = !turns.length;
    this.turns.replaceChildren(...turns.map(({ role, content }) => h("div", { class: `wbg-turn ${role}` }, h("span", { class: "wb-label" }, role === "user" ? "You" : "Answer"), textBlock(arrive(content)))));
    if (gone_on) {
      this.prompt.value = "";
      this.prompt.focus({ preventScroll: true });
    }
  }

  /** How dark a card's edge is: the hotter, the darker; its colour is the model's. */
  shade(temperature) {
    const hotness = [...new Set(this.state.columns.map((column) => column.temperature))].sort((a, b) => a - b);
    return hotness.length < 2 ? 100 : 40 + (60 * hotness.indexOf(temperature)) / (hotness.length - 1);
  }

  showColumn(column, at) {
    const drawing = JSON.stringify([column, this.state.busy, this.scale()]); // of which the buttons depend
    if (this.drawn[at] === drawing && this.cards[at]) return;
    this.drawn[at] = drawing;
    const name = h("span", { class: "wbg-model" }, visible(arrive(column.model)));
    const how = column.best_of > 1 ? `T ${column.temperature}, best of ${column.best_of}` : `T ${column.temperature}`;
    const top = h("header", {}, name, h("span", { class: "wb-muted wb-num" }, how), ...figures(column));
    const prefer = h("button", { type: "button", onclick: () => this.tell({ type: "prefer", column: at }), "aria-pressed": String(Boolean(column.preferred)) }, column.preferred ? "Preferred" : "Prefer this one", keycap(String(at + 1)));
    prefer.disabled = column.state !== "done" || this.state.busy;
    const on = h("button", { type: "button", class: "wb-quiet", onclick: () => this.tell({ type: "go_on", column: at }) }, "Go on from here");
    on.disabled = prefer.disabled || !column.text;
    const ink = this.state.models.indexOf(column.model) % 5;
    const card = h("article", { class: `wbg-card c${ink} ${column.state}` }, top, this.body(column), h("footer", {}, this.state.stored ? prefer : null, on));
    card.style.setProperty("--wbg-shade", `${this.shade(column.temperature)}%`);
    if (this.cards[at]) this.cards[at].replaceWith(card);
    else {
      this.columns.querySelector(".wbg-empty")?.remove();
      this.columns.append(card);
    }
    this.cards[at] = card;
  }

  /** The largest part of any answer: full colour in all. */
  scale() {
    return heatScale(this.state.columns.map(({ why }) => ({ tokens: { part: why?.parts } })), "part");
  }

  reasons({ text, why }) {
    if (why.parts) return h("div", {}, ...partsBlock(why, this.scale()));
    const words = why.fault ? [why.fault.what, why.fault.fix].join(": ") : `${why.phase}…`;
    return h("div", {}, textBlock(arrive(text)), h("p", { class: "wb-muted" }, arrive(words)));
  }

  body(column) {
    if (column.state === "failed") {
      const { what, where, fix } = column.fault;
      return h("div", { class: "wb-banner error" }, h("div", {}, h("strong", {}, arrive(what)), h("p", {}, arrive([where, fix].filter(Boolean).join("\n")))));
    }
    if (column.state === "stopped" && !column.text) return h("p", { class: "wb-muted" }, "stopped before its turn came");
    if (column.state === "waits") return h("p", { class: "wb-muted" }, "waits for its turn");
    if (column.state === "answers" && !column.text) return h("p", { class: "wb-muted" }, `${arrive(column.phase)}…`);
    if (this.apart && column.why) return this.reasons(column);
    const done = column.state === "done" && column.pieces;
    if (!this.marked || !done || !column.kl.some((value) => value > 0)) return textBlock(arrive(column.text || "(empty)"));
    const tokens = column.pieces.map((piece, i) => {
      const share = Math.min(1, column.kl[i] / FULL);
      const mark = h("span", { class: "wbg-token", title: `${column.kl[i].toFixed(3)} nats` }, visible(arrive(piece), { edges: false }));
      mark.style.setProperty("--share", share.toFixed(3));
      return mark;
    });
    return h("p", { class: "wb-text" }, ...tokens);
  }
}

const scored = (column) => column.state === "done" && typeof column.score === "number";

function figures(column) {
  if (column.state !== "done") return [h("span", { class: "wb-chip" }, STATES[column.state])];
  const signed = (value) => value.toFixed(2).replace("-", "−");
  const chips = [];
  if (column.score !== null && column.score !== undefined) chips.push(h("span", { class: "wb-chip green wb-num", title: best(column, signed) }, `reward score ${signed(column.score)}`));
  const kl = column.kl.reduce((sum, value) => sum + value, 0);
  chips.push(h("span", { class: "wb-chip wb-num", title: "from what the model started from" }, `KL ${kl.toFixed(2)} nats`));
  chips.push(h("span", { class: "wb-chip wb-num" }, `${column.pieces?.length ?? 0} tokens`));
  if (!column.ended) chips.push(h("span", { class: "wb-chip orange" }, "cut off"));
  return chips;
}

function best(column, signed) {
  const known = (column.scores ?? []).filter((value) => value !== null);
  return known.length > 1 ? `of ${known.length} answers: ${signed(Math.min(...known))} to ${signed(Math.max(...known))}` : "by the reward model";
}
