// The bar over a table of pairs: what is searched for, which rows are shown, how many are selected.
import { arrive, grouped, h, visible } from "../kit/safe_text.js";

const STATE_NAMES = {
  all: "all rows",
  labelled: "labelled",
  unlabelled: "not labelled",
  choice: "one is better",
  tie: "ties",
  both_bad: "both bad",
  other: "other labels",
  yours: "labelled here",
  not_yours: "not labelled here",
};

export class TableBar {
  /**
   * `ask()`: the rows shown are to change now; `typed()`: something was typed into the search;
   * `leave()`: the keyboard goes back to the table; `select(mode)`: "all" or "none";
   * `more`: the button of the filters beyond these.
   */
  constructor({ ask, typed, leave, select, more }) {
    Object.assign(this, { ask, leave });
    this.search = h("input", {
      type: "search",
      class: "wbb-search",
      placeholder: "Search all text",
      "aria-label": "Search all text",
      spellcheck: "false",
      oninput: typed,
      onkeydown: (event) => this.searchKey(event),
    });
    this.state = h("select", { "aria-label": "Show rows by label", onchange: ask });
    this.source = h("select", { "aria-label": "Show rows by source", onchange: ask, hidden: true });
    this.count = h("span", { class: "wbb-count wb-num wb-muted", role: "status" });
    this.chosen = h("span", { class: "wbb-chosen wb-num" });
    const link = (mode, name) =>
      h("button", { class: "wb-link", hidden: true, onclick: () => select(mode) }, name);
    this.all = link("all", "select all shown");
    this.none = link("none", "clear");
    const filters = [this.search, this.state, this.source, more, this.count];
    const chosen = h("span", { class: "wbb-picked" }, this.chosen, this.all, this.none);
    this.root = h("div", { class: "wbb-bar" }, ...filters, chosen);
  }

  /** The part of the question that is asked here. */
  get value() {
    return {
      query: this.search.value,
      state: this.state.value || "all",
      source: this.source.value,
    };
  }

  clear() {
    this.search.value = this.source.value = "";
    this.state.value = "all";
  }

  searchKey(event) {
    if (event.key === "Escape" && this.search.value) {
      this.search.value = "";
      this.ask();
    } else if (["Enter", "ArrowDown", "Escape"].includes(event.key)) this.leave();
    else return;
    event.preventDefault();
  }

  drawFilters({ question, counts, sources, total }) {
    const states = Object.keys(STATE_NAMES).filter((name) => name === "all" || counts[name]);
    const option = (value, name) => h("option", { value }, name);
    this.state.replaceChildren(
      ...states.map((name) => option(name, `${STATE_NAMES[name]} (${grouped(counts[name])})`)),
    );
    this.state.value = question.state;
    this.state.hidden = states.every((name) => counts[name] === total);
    this.source.replaceChildren(
      option("", "every source"),
      ...sources.map((name) => option(name, visible(arrive(name)).textContent)),
    );
    this.source.value = question.source;
    this.source.hidden = sources.length < 2;
  }

  drawCounts({ shown, total, selected, counting, fraction }) {
    const pairs = total === 1 ? "1 pair" : `${grouped(total)} pairs`;
    if (counting && shown)
      this.count.textContent = `≥ ${grouped(shown)} of ${pairs}, still counting`;
    else if (counting) this.drawWait("searching", fraction);
    else this.count.textContent = shown === total ? pairs : `${grouped(shown)} of ${pairs}`;
    this.chosen.textContent = selected ? `${grouped(selected)} selected` : "";
    this.none.hidden = !selected;
    this.all.hidden = !shown || selected >= shown;
  }

  drawWait(doing, fraction) {
    this.count.textContent = `${doing}… ${Math.floor(100 * fraction)} %`;
  }
}
