// The item on the labeller's screen: its prompt and its answers, with what differs between them, as
// Markdown or as written, folded where they are long.
import { marksOf } from "./notices.js";
import { arrive, compareTurns, h, keycap, turns } from "../kit/safe_text.js";
import { markdownBlock } from "../kit/markdown.js";
import { ordinal } from "./choice_keys.js";

const TALL = 460; // pixels of a text that are shown before it is folded

export class ItemView {
  /** `changed(part, ...from)`: whether a part is to be drawn anew; `unfold()`: the link was clicked. */
  constructor(outbox, { changed, unfold }) {
    Object.assign(this, { outbox, changed });
    this.diff = false;
    this.markdown = false;
    this.unfolded = false;
    this.marks = h("span", { class: "wbl-marks" });
    this.prompt = h("div", { class: "wb-fold" });
    this.answers = h("div", { class: "wbl-answers" });
    const slow = "These two are too long and too different to compare in time.";
    this.slow = h("p", { class: "wbl-slow wb-muted", hidden: true }, slow);
    this.more = h("button", { class: "wb-link wbl-more", hidden: true, onclick: unfold });
    const top = h("div", { class: "wbl-top" }, h("span", { class: "wb-label" }, "Prompt"));
    top.append(this.marks);
    const prompt = h("section", { class: "wbl-prompt" }, top, this.prompt);
    this.root = h("div", { class: "wbl-item" }, prompt, this.slow, this.answers, this.more);
  }

  /** The link to the whole text carries its key. */
  nameKey(key) {
    this.more.replaceChildren("Show all of it", keycap(key));
  }

  // --- what is shown of it

  toggleDiff() {
    this.diff = !this.diff; // drawing the texts asks for what was cut
  }

  toggleMarkdown() {
    this.markdown = !this.markdown;
    if (this.markdown) this.outbox.render();
  }

  unfold() {
    this.unfolded = true;
    if (this.outbox.isCut) this.outbox.whole();
  }

  // --- drawing

  /** `rankOf(place)`: an answer's rank so far, null where it has none. */
  draw(shown, texts, rankOf) {
    if (this.changed("token", shown.token)) this.unfolded = false;
    const html = this.markdown && !this.diff ? (this.outbox.rendered.get(shown.token) ?? null) : null;
    if (this.changed("texts", texts, this.diff, html)) this.drawTexts(texts, html);
    this.drawRanks(rankOf);
    this.fold();
    this.marks.replaceChildren(...marksOf({ ...shown, note: arrive(shown.note) }));
  }

  /** Draw the texts; `html`: as rendered Markdown, where that is here. */
  drawTexts({ prompt, responses }, html) {
    if (this.diff && this.outbox.isCut) this.outbox.whole();
    const two = responses.length === 2;
    const differences = this.diff && two ? compareTurns(...responses) : null;
    const blocks = (list) => (list ?? []).map((text) => text !== null && markdownBlock(text));
    this.slow.hidden = !(this.diff && two && !differences);
    this.prompt.replaceChildren(...turns(prompt, "user", [], "", blocks(html?.prompt)));
    this.answers.replaceChildren(
      ...responses.map((response, n) => {
        const name = two ? ["Left", "Right"][n] : `Answer ${n + 1}`;
        const tag = n ? "ins" : "del";
        const key = h("span", { class: "wbl-key wb-muted" }, h(tag, {}, "only here"));
        const top = h("div", { class: "wbl-top" }, h("span", { class: "wb-label" }, name));
        if (differences) top.append(key);
        const marked = [differences?.left, differences?.right][n] ?? [];
        const rendered = blocks(html?.responses[n]);
        const nodes = turns(response, "assistant", marked, tag, rendered);
        const fold = h("div", { class: "wb-fold" }, ...nodes);
        return h("section", { class: `wbl-answer ${two ? name.toLowerCase() : ""}` }, top, fold);
      }),
    );
  }

  /** Each answer carries the rank that it has so far. */
  drawRanks(rankOf) {
    [...this.answers.children].forEach((card, place) => {
      const rank = rankOf(place);
      card.querySelector(".wbl-rank")?.remove();
      card.classList.toggle("ranked", rank !== null);
      const chip = { class: "wb-chip green wbl-rank" };
      if (rank) card.querySelector(".wbl-top").append(h("span", chip, ordinal(rank)));
    });
  }

  fold() {
    const folds = [...this.root.querySelectorAll(".wb-fold")];
    for (const node of folds)
      node.classList.toggle("folded", !this.unfolded && node.scrollHeight > TALL);
    const folded = folds.some((node) => node.classList.contains("folded"));
    this.more.hidden = !this.outbox.isCut && !folded;
  }
}
