// Alarms: what rings, what it saw and what to do; what rang before is folded away.
import { h } from "../kit/dom.js";
import { arrive } from "../kit/safe_text.js";

export class Alarms {
  constructor() {
    this.step = "step";
    this.list = h("ul", { class: "wbp-ringing" });
    this.before = h("ul", {});
    this.summary = h("summary", {});
    this.past = h("details", { class: "wbp-rang", hidden: true }, this.summary, this.before);
    this.root = h("section", { class: "wbp-alarms", "aria-label": "Alarms", "aria-live": "polite", hidden: true }, this.list);
  }

  /** `told`: the title of the one that the sentence above begins with; it comes first. */
  show(alarms, live, told) {
    const ringing = alarms.filter((alarm) => alarm.until === null).sort((a, b) => (b.title === told) - (a.title === told));
    const over = alarms.filter((alarm) => alarm.until !== null);
    this.root.hidden = !ringing.length;
    this.root.classList.toggle("told", ringing[0]?.title === told);
    this.list.replaceChildren(...ringing.map((alarm) => this.row(alarm, live)));
    this.past.hidden = !over.length;
    this.summary.textContent = over.length === 1 ? "1 alarm that is over" : `${over.length} alarms that are over`;
    this.before.replaceChildren(...over.map((alarm) => this.row(alarm, false)));
  }

  row({ title, since, until, text, fix }, live) {
    const when = until === null ? (live ? `since ${this.step} ${since}` : `from ${this.step} ${since} to the end`) : since === until ? `${this.step} ${since}` : `${this.step}s ${since} to ${until}`;
    const chip = h("span", { class: `wb-chip ${until === null ? "red" : ""}` }, until === null ? "▲ alarm" : "△ over");
    const words = h("p", {}, h("strong", {}, title), h("span", { class: "wb-muted wb-num" }, ` ${when}. `), arrive(text));
    return h("li", {}, chip, h("div", {}, words, " ", h("p", { class: "wbp-do" }, h("b", {}, "What to do: "), fix)));
  }
}
