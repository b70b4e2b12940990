// The second row of the browser's controls: bounds for numbers, and what the reward model says.
import { grouped, h } from "../kit/safe_text.js";

const TYPING = 350; // ms without typing before a bound is sent

const BOUNDS = {
  gap: {
    name: "Length gap",
    unit: "characters",
    help: "How much longer the first answer is than the second; below 0: the second is longer",
    scale: 1,
    step: 10,
  },
  margin: {
    name: "Reward margin",
    unit: "score",
    help: "The reward model's score of the better answer minus the other's; without a label, A's minus B's",
    scale: 1,
    step: "any",
  },
  agreement: {
    name: "Agreement",
    unit: "%",
    help: "Share of the annotators who chose what the majority chose, where there are two or more",
    scale: 100,
    step: 5,
  },
};

/** `asks` does what the controls say: ask(), and uncertain(on), an order. */
export class Filters {
  constructor(asks) {
    this.asks = asks;
    this.open = false;
    this.bounds = Object.fromEntries(Object.keys(BOUNDS).map((key) => [key, this.bound(key)]));
    this.groups = Object.fromEntries(Object.keys(BOUNDS).map((key) => [key, this.group(key)]));
    const toggle = (title, onclick) => h("button", { class: "wbb-toggle", title, onclick });
    this.disagrees = toggle("The reward model prefers the answer that the label does not", () =>
      this.press(this.disagrees, () => asks.ask()),
    );
    this.uncertain = toggle("Order by the size of the reward margin, the smallest first", () =>
      this.press(this.uncertain, (on) => asks.uncertain(on)),
    );
    this.uncertain.append("Most uncertain first");
    this.button = h("button", {
      class: "wbb-filter",
      "aria-expanded": "false",
      onclick: () => this.turn(!this.open),
    });
    const all = [...Object.values(this.groups), this.disagrees, this.uncertain];
    this.root = h("div", { class: "wbb-bounds", hidden: true }, ...all);
  }

  bound(key) {
    const { name, unit, step } = BOUNDS[key];
    const field = (end) =>
      h("input", {
        type: "number",
        step,
        class: "wbb-bound wb-num",
        placeholder: end,
        "aria-label": `${name}, ${end}, ${unit}`,
        oninput: () => {
          clearTimeout(this.timer);
          this.timer = setTimeout(() => this.asks.ask(), TYPING);
        },
      });
    return [field("from"), field("to")];
  }

  group(key) {
    const { name, unit, help } = BOUNDS[key];
    const [from, to] = this.bounds[key];
    const title = h("span", { class: "wbb-bound-name" }, name);
    return h("span", { class: "wbb-group", title: help }, title, from, "–", to, unit);
  }

  press(button, then) {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    then(on);
  }

  turn(open) {
    this.open = open;
    this.root.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
  }

  /** What the controls say, as Python takes it. */
  get value() {
    const read = (key, input) => (input.value === "" ? null : +input.value / BOUNDS[key].scale);
    const ranges = Object.entries(this.bounds).map(([key, ends]) => [
      key,
      ends.map((input) => read(key, input)),
    ]);
    const disagrees = this.disagrees.getAttribute("aria-pressed") === "true";
    return { ...Object.fromEntries(ranges), disagrees };
  }

  /** Take over what Python says that is asked, as after a reload. */
  take(question) {
    for (const [key, ends] of Object.entries(this.bounds))
      ends.forEach((input, end) => {
        const value = question[key][end];
        input.value = value === null ? "" : String(+(value * BOUNDS[key].scale).toFixed(6));
      });
    this.disagrees.setAttribute("aria-pressed", String(question.disagrees));
    if (this.active(question)) this.turn(true);
  }

  clear() {
    for (const input of Object.values(this.bounds).flat()) input.value = "";
    this.disagrees.setAttribute("aria-pressed", "false");
  }

  active(question) {
    const ranges = Object.keys(BOUNDS).filter((key) => question[key].some((end) => end !== null));
    return ranges.length + Number(question.disagrees);
  }

  draw({ question, counts, scored, shared }) {
    this.groups.margin.hidden = !scored;
    this.groups.agreement.hidden = !shared;
    this.disagrees.hidden = this.uncertain.hidden = !scored;
    this.disagrees.replaceChildren(`Reward disagrees (${grouped(counts.disagrees ?? 0)})`);
    const uncertain = question.sort === "uncertain" && !question.descending;
    this.uncertain.setAttribute("aria-pressed", String(uncertain));
    const active = this.active(question);
    this.button.replaceChildren("Filters", active ? h("span", { class: "wbb-active" }, active) : "");
  }
}
