// One pair to read: prompt, answers side by side, what differs, where it came from.
import { arrive, compareTurns, grouped, h, keycap, turns, visible } from "../kit/safe_text.js";

const TALL = 420; // pixels of a text that are shown before it is folded
export const CHIPS = { choice: "blue", tie: "", both_bad: "red", other: "orange" };

/** A number with its sign and two decimals. */
export function signed(number) {
  const sign = number > 0 ? "+" : number < 0 ? "−" : "";
  return sign + Math.abs(number).toFixed(2);
}

/** `asks` does what the buttons say: read(position, whole), move(by), shut(), send(). */
export class PairView {
  constructor(asks) {
    this.asks = asks;
    this.pair = null;
    this.sends = false; // there is a labeller to send to
    this.diff = false;
    this.unfolded = false;
    this.root = h("div", { class: "wbb-detail", hidden: true });
  }

  show(pair) {
    this.pair = pair;
    this.unfolded = Boolean(pair?.whole) && this.unfolded;
    if (pair && this.diff && this.isCut) this.asks.read(pair.position, true);
    this.draw();
  }

  toggleDiff() {
    this.diff = !this.diff;
    this.drawOrAsk(this.diff);
  }

  unfold() {
    this.unfolded = true;
    this.drawOrAsk(true);
  }

  /** Draw; where the texts were cut and all of them is `wanted`, ask for them first. */
  drawOrAsk(wanted) {
    if (!this.pair) return; // it is on its way, and will be drawn so
    if (wanted && this.isCut) this.asks.read(this.pair.position, true);
    else this.draw();
  }

  get isCut() {
    const { prompt, answers } = this.pair;
    const messages = [prompt, ...answers.map((answer) => answer.messages)].flat();
    return messages.some((message) => message.cut);
  }

  draw() {
    const { pair, diff } = this;
    this.root.hidden = !pair;
    if (!pair) return;
    const [first, second] = pair.answers;
    const marks = diff && second ? compareTurns(first.messages, second.messages) : null;
    const slow = diff && second && !marks;
    const more = h("button", { class: "wb-link wbb-more", onclick: () => this.unfold() });
    more.append("Show all of it", keycap("e"));
    this.root.replaceChildren(
      this.title(Boolean(second)),
      slow ? h("p", {}, "These two are too long and too different to compare in time.") : "",
      card("Prompt", "prompt", turns(pair.prompt, "user")),
      h("div", { class: "wbb-answers" }, ...pair.answers.map((one, i) => answer(one, i, marks))),
      more,
      facts(pair.facts),
    );
    const folds = [...this.root.querySelectorAll(".wb-fold")];
    for (const node of folds)
      node.classList.toggle("folded", !this.unfolded && node.scrollHeight > TALL);
    more.hidden = !this.isCut && !folds.some((node) => node.classList.contains("folded"));
  }

  title(two) {
    const { pair, asks } = this;
    const button = (name, key, action, more = {}) =>
      h("button", { class: "wb-quiet", onclick: action, ...more }, name, keycap(key));
    const chip = (text, kind) =>
      text && h("span", { class: `wb-chip ${kind}` }, visible(arrive(text)));
    return h(
      "div",
      { class: "wbb-title" },
      h("strong", { class: "wb-num" }, `Pair ${grouped(pair.row)}`),
      chip(pair.label, CHIPS[pair.kind] ?? ""),
      chip(pair.yours && `here: ${pair.yours}`, "green"),
      chip(reward(pair), pair.disagrees ? "orange" : ""),
      h("span", { class: "wbb-push" }),
      button("Differences", "d", () => this.toggleDiff(), {
        "aria-pressed": String(this.diff),
        disabled: !two,
      }),
      this.sends ? button("To the labeller", "q", () => asks.send()) : "",
      button("Previous", "ArrowUp", () => asks.move(-1)),
      button("Next", "ArrowDown", () => asks.move(1)),
      button("Close", "Escape", () => asks.shut()),
    );
  }
}

function reward({ margin, disagrees }) {
  if (margin === null) return "";
  return `reward ${disagrees ? "disagrees" : "margin"}: ${signed(margin)}`;
}

function card(title, kind, nodes, extra = null) {
  const head = h("header", {}, h("span", { class: "wb-label" }, title), extra);
  return h(
    "section",
    { class: `wbb-card ${kind}` },
    head,
    h("div", { class: "wb-fold" }, ...nodes),
  );
}

function answer(one, index, marks) {
  const lines = [marks?.left, marks?.right][index] ?? [];
  const nodes = turns(one.messages, "assistant", lines, index === 0 ? "del" : "ins");
  const size = `${grouped(one.words)} ${one.words === 1 ? "word" : "words"}`;
  const extra = h(
    "span",
    { class: "wbb-size wb-muted wb-num" },
    one.better && one.name !== "chosen" ? h("span", { class: "wb-chip blue" }, "✓ better") : "",
    size,
  );
  return card(one.name, `answer${one.better ? " better" : ""}`, nodes, extra);
}

function facts(pairs) {
  const entries = pairs.map(([name, value]) =>
    h("span", {}, h("b", {}, visible(arrive(name)), ": "), visible(arrive(value))),
  );
  return h("div", { class: "wbb-facts" }, ...entries);
}
