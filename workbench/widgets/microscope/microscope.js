// The microscope: rows of numbers over the tokens of one answer, and sliders that move them.
import { guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive, visible } from "../kit/safe_text.js";
import { partsBlock } from "../kit/token_heat.js";

const LATE = 4000; // ms between two questions whether the run has gone on, while nobody touches it
const RANK_WORDS = { best: "Best", middle: "Middle", worst: "Worst" };

/** About three figures; what three decimals lose is 0 here, and exact in `microscope.frame`. */
function figure(value, near = 0) {
  const size = Math.abs(value);
  if (size < 5e-4) return "0";
  if (near) return value.toFixed(3);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3).replace("-", "−");
}

const decimals = (step) => (step < 0.01 ? 3 : 2);

/** A token as it is written: blanks and line breaks stay visible. */
function tokenText(text) {
  const told = arrive(text).replace(/\n/g, "⏎").replace(/^ /, "·");
  return told || "∅";
}

export default class Microscope {
  constructor(model, el) {
    this.model = model;
    this.view = newId();
    this.state = null;
    this.drawn = "";
    this.waiting = false; // for the answer to a slider: one question at a time
    this.build();
    el.append(this.root);
    this.take = (message) => {
      if (message.type === "state" && (!message.to || message.to === this.view)) this.show(message);
      if (message.type === "fault") this.fault(message.fault);
    };
    model.on("msg:custom", this.take);
    this.tell({ type: "ready" });
  }

  close() {
    clearTimeout(this.timer);
    this.model.off("msg:custom", this.take);
  }

  tell(message) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tell({ type: "ready" }), LATE);
    try {
      this.model.send({ ...message, view: this.view });
    } catch {
      // the kernel is gone; what is here stays readable
    }
  }

  /** Send a slider's place; while an answer is under way only the newest place is kept. */
  move(name, value) {
    this.newest = { type: "set", name, value };
    if (!this.waiting) this.send();
  }

  send() {
    if (!this.newest) return;
    this.waiting = true;
    this.tell(this.newest);
    this.newest = null;
  }

  // --- building

  build() {
    this.title = h("span", { class: "wbm-title" });
    this.updates = h("input", { type: "range", min: 0, step: 1, "aria-label": "update" });
    this.updateWords = h("output", { class: "wb-num" });
    this.updates.addEventListener("input", () => this.choose(this.state.steps[Number(this.updates.value)]));
    this.ranks = h("div", { class: "wbm-ranks", role: "group", "aria-label": "answer" });
    const scrub = h("label", { class: "wbm-update" }, (this.step = h("span", { class: "wb-label" })), this.updates, this.updateWords);
    this.prompt = h("p", { class: "wbm-prompt", dir: "auto" });
    this.verdict = h("p", { class: "wbm-verdict", role: "status" });
    this.sliders = h("div", { class: "wbm-sliders" });
    this.sheet = h("div", { class: "wbm-sheet" });
    this.expected = h("div", { class: "wbm-expected" });
    this.apart = false; // the answer by the parts of its score
    this.whyButton = h("button", { type: "button", class: "wb-quiet", hidden: true, onclick: () => this.why() }, "Why this score", keycap("w"));
    this.reasons = h("div", { class: "wbm-why" });
    this.sums = h("div", { class: "wbm-sums wb-num" });
    const keys = h("p", { class: "wbm-keys wb-muted" }, keycap("ArrowLeft"), keycap("ArrowRight"), " token ", keycap("ArrowUp"), keycap("ArrowDown"), (this.walk = h("span")));
    this.keys = keys;
    this.root = h(
      "section",
      { class: "wb wbm", "aria-label": "Microscope" },
      h("header", { class: "wbm-head" }, this.title, scrub, this.ranks),
      this.prompt,
      this.sliders,
      h("div", { class: "wbm-scroll" }, this.sheet),
      this.verdict,
      this.expected,
      this.reasons,
      h("footer", { class: "wbm-foot" }, this.sums, this.whyButton, keys),
    );
    guardKeys(this.root, (key) => this.press(key));
  }

  press(key) {
    const { state } = this;
    if (!state) return false;
    const at = state.steps.indexOf(state.step);
    const rank = state.ranks[Number(key) - 1];
    const token = this.asked ?? state.token; // an older answer of the kernel's may be under way
    if (key === "ArrowLeft") this.select(token - 1);
    else if (key === "ArrowRight") this.select(token + 1);
    else if (key === "ArrowUp" && at > 0) this.choose(state.steps[at - 1]);
    else if (key === "ArrowDown" && at + 1 < state.steps.length) this.choose(state.steps[at + 1]);
    else if (key.toLowerCase() === "r" && state.sliders) this.tell({ type: "reset" });
    else if (key.toLowerCase() === "w" && state.explains) this.why();
    else if (rank) this.choose(state.step, rank.rank);
    else return key === "ArrowUp" || key === "ArrowDown";
    return true;
  }

  /** Show which tokens the reward score comes from, which is asked for once; or hide it. */
  why() {
    this.apart = !this.apart;
    this.showReasons();
  }

  showReasons() {
    const { explains, why } = this.state;
    this.whyButton.hidden = !explains;
    this.whyButton.setAttribute("aria-pressed", String(this.apart));
    const drawing = JSON.stringify([this.apart, why]);
    if (drawing === this.reasoned) return;
    this.reasoned = drawing;
    this.reasons.replaceChildren();
    if (!this.apart) return;
    if (!why) {
      this.reasoned = null; // asked again with the next state, where another answer is under way
      return this.tell({ type: "why" });
    }
    if (why.parts) return this.reasons.append(...partsBlock(why, why.parts.reduce((most, part) => Math.max(most, Math.abs(part)), 0)));
    this.reasons.append(h("p", { class: "wb-muted" }, why.fault ? arrive([why.fault.what, why.fault.fix].join(": ")) : `${why.phase}…`));
  }

  select(token) {
    if (token < 0 || token >= this.state.tokens.length) return;
    this.tell({ type: "token", token });
    this.asked = token; // the next key counts from here, until the answer is there
  }

  choose(step, rank = this.state.rank) {
    this.asked = null;
    this.tell({ type: "choose", step, rank });
  }

  fault({ what, fix }) {
    this.verdict.textContent = [arrive(what), arrive(fix)].filter(Boolean).join(". ");
    this.waiting = false;
  }

  // --- showing

  show(state) {
    const first = !this.state;
    const moved = first || this.seen !== state.token || this.state.step !== state.step;
    this.state = state;
    this.seen = state.token;
    if (this.asked === state.token) this.asked = null;
    this.waiting = false;
    this.title.replaceChildren("Microscope ", h("span", { class: "wb-muted" }, arrive(state.name)));
    this.step.textContent = state.sliders ? "Update" : "Step"; // of PPO, of fine-tuning
    this.walk.textContent = ` ${this.step.textContent.toLowerCase()} `;
    this.updates.max = state.steps.length - 1;
    this.updates.value = state.steps.indexOf(state.step);
    this.updateWords.textContent = `${state.step} of ${state.steps.at(-1)}`;
    this.prompt.replaceChildren(...(state.prompt ? [h("span", { class: "wb-label" }, "Prompt"), " ", visible(arrive(state.prompt))] : []));
    this.showRanks();
    this.showSliders();
    const drawing = JSON.stringify([state.step, state.rank, state.rows.map((row) => row.key)]);
    if (drawing !== this.drawn) this.buildSheet();
    this.drawn = drawing;
    this.place();
    this.verdict.textContent = arrive(state.verdict);
    this.showExpected();
    this.showReasons();
    this.showSums();
    if (first) this.keys.append(...(state.sliders ? [keycap("1"), keycap("2"), keycap("3"), " answer ", keycap("r"), " as in the run"] : []));
    if (moved) this.intoView();
    this.send();
  }

  showRanks() {
    this.ranks.replaceChildren(
      ...this.state.ranks.map(({ rank, score }) =>
        h("button", { type: "button", "aria-pressed": String(rank === this.state.rank), onclick: () => this.choose(this.state.step, rank) }, RANK_WORDS[rank] ?? rank, h("span", { class: "wb-muted wb-num" }, figure(score))),
      ),
    );
  }

  showSliders() {
    const { sliders } = this.state;
    if (!sliders) return;
    if (!this.sliders.children.length) this.sliders.append(...sliders.map((one) => this.slider(one)), this.back());
    sliders.forEach((one, i) => {
      const { range, words, was } = this.controls[i];
      range.min = Math.min(one.low, one.recorded);
      range.max = Math.max(one.high, one.recorded);
      if (!range.matches(":focus") || !this.newest) range.value = one.value;
      words.textContent = one.value.toFixed(decimals(one.step)).replace("-", "−");
      const changed = Math.abs(one.value - one.recorded) > 1e-9;
      was.textContent = changed ? `the run: ${one.recorded.toFixed(decimals(one.step)).replace("-", "−")}` : one.words;
      was.classList.toggle("changed", changed);
    });
    this.reset.disabled = sliders.every((one) => Math.abs(one.value - one.recorded) <= 1e-9);
  }

  slider({ name, sign, words: about, low, high, step }) {
    const range = h("input", { type: "range", min: low, max: high, step, "aria-label": `${sign}, ${about}` });
    const words = h("output", { class: "wb-num" });
    const was = h("span", { class: "wbm-was" });
    range.addEventListener("input", () => {
      words.textContent = Number(range.value).toFixed(decimals(step)).replace("-", "−");
      this.move(name, Number(range.value));
    });
    (this.controls ??= []).push({ range, words, was });
    return h("label", { class: "wbm-slider" }, h("span", { class: "wbm-sign" }, sign), words, range, was);
  }

  back() {
    this.reset = h("button", { type: "button", class: "wb-quiet", onclick: () => this.tell({ type: "reset" }) }, "As in the run", keycap("r"));
    return this.reset;
  }

  buildSheet() {
    const { tokens, rows, before } = this.state;
    const read = before ?? [];
    const heads = [...read.map((text) => ({ text, read: true })), ...tokens.map((text) => ({ text }))];
    const cell = (place) => {
      const bar = h("i");
      const number = h("span", { class: "wb-num" });
      const node = h("div", { class: place < 0 ? "wbm-cell read" : "wbm-cell" }, h("div", { class: "wbm-bar" }, bar), number);
      if (place >= 0) node.addEventListener("click", () => this.select(place));
      return { node, bar, number };
    };
    this.heads = heads.map(({ text, read: only }, i) => {
      const place = i - read.length;
      const head = h("button", { type: "button", class: only ? "wbm-token read" : "wbm-token", title: only ? "read, not learned" : arrive(text) }, visible(tokenText(text), { edges: false }));
      if (only) head.disabled = true;
      else head.addEventListener("click", () => this.select(place));
      return head;
    });
    const head = h("div", { class: "wbm-row wbm-tokens" }, h("div", { class: "wbm-name" }, h("span", { class: "wb-label" }, "Token")), ...this.heads);
    this.lines = rows.map((row) => {
      const worked = h("div", { class: "wbm-worked wb-num" });
      const cells = heads.map((_, i) => cell(i - read.length));
      const name = h("div", { class: "wbm-name" }, h("div", {}, h("b", {}, row.title), " ", h("span", { class: "wb-muted" }, row.unit ? `${row.formula}, ${row.unit}` : row.formula)), worked);
      return { node: h("div", { class: `wbm-row ${row.key}` }, name, ...cells.map(({ node }) => node)), cells, worked };
    });
    this.sheet.replaceChildren(head, ...this.lines.map(({ node }) => node));
  }

  place() {
    const { rows, token, worked, clipped, before } = this.state;
    const read = before?.length ?? 0;
    this.heads.forEach((head, i) => head.setAttribute("aria-pressed", String(i - read === token)));
    rows.forEach((row, n) => {
      const line = this.lines[n];
      const sizes = row.numbers.map((value) => value - row.about);
      const most = Math.max(...sizes.map(Math.abs), 1e-12);
      const low = Math.min(0, ...sizes) / most;
      const high = Math.max(0, ...sizes) / most;
      const span = high - low || 1;
      line.worked.textContent = arrive(worked[row.key] ?? "");
      line.cells.forEach(({ node, bar, number }, i) => {
        const place = i - read;
        if (place < 0) {
          number.textContent = row.key === "learned" ? "0" : "";
          return;
        }
        const share = sizes[place] / most;
        bar.className = share < 0 ? "minus" : "plus";
        bar.classList.toggle("clipped", row.key === "objective" && clipped[place]);
        bar.style.height = `${(100 * Math.abs(share)) / span}%`;
        bar.style.bottom = `${(100 * (Math.min(share, 0) - low)) / span}%`;
        node.style.setProperty("--zero", `${(100 * -low) / span}%`);
        node.classList.toggle("on", place === token);
        number.textContent = row.key === "learned" ? String(row.numbers[place]) : figure(row.numbers[place], row.about);
        if (row.key === "objective") node.title = clipped[place] ? "clipped: nothing more is gained here" : "";
      });
    });
  }

  showExpected() {
    const { expected, tokens, token } = this.state;
    if (!expected) return;
    const top = Math.max(...expected.map(([, share]) => share));
    const line = ([text, share]) => {
      const bar = h("i");
      bar.style.width = `${(100 * share) / top}%`;
      const own = text === tokens[token];
      return h("div", { class: own ? "wbm-guess own" : "wbm-guess" }, h("span", { class: "wbm-guess-text" }, visible(tokenText(text), { edges: false })), h("span", { class: "wbm-guess-bar" }, bar), h("span", { class: "wb-num" }, `${(100 * share).toFixed(share < 0.1 ? 2 : 0)} %`));
    };
    this.expected.replaceChildren(h("span", { class: "wb-label" }, "What the model expected here"), ...expected.map(line));
  }

  showSums() {
    const { sums, kind } = this.state;
    const one = (name, value) => h("span", {}, h("span", { class: "wb-muted" }, name), " ", h("b", {}, value));
    const words =
      kind === "ppo"
        ? [one("score", figure(sums.score)), one("log-ratio summed", `${figure(sums.kl)} nats`), one("charge", figure(sums.charge)), one("paid in all", figure(sums.reward)), one("outside of the clip range", `${Math.round(100 * sums.clipped)} % of tokens`)]
        : [one("loss", `${figure(sums.loss)} nats, mean of ${sums.learned} learned tokens`)];
    this.sums.replaceChildren(...words);
  }

  /** Scroll the sheet so that the chosen token is seen, and nothing but the sheet. */
  intoView() {
    const scroll = this.sheet.parentElement;
    const read = this.state.before?.length ?? 0;
    const head = this.heads[read + this.state.token];
    const name = this.sheet.querySelector(".wbm-name").offsetWidth;
    const left = head.offsetLeft - name;
    if (left < scroll.scrollLeft || head.offsetLeft + head.offsetWidth > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = Math.max(0, left - head.offsetWidth);
  }
}
