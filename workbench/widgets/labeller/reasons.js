// What stands beside the pair: the guidelines, and the reasons to give with a label, each by a key.
import { arrive, h, keycap, textBlock, visible } from "../kit/safe_text.js";
import { markdownBlock } from "../kit/markdown.js";

/** The guidelines, beside the pair where there is room, above it where there is not. */
export class Guide {
  constructor() {
    this.open = true; // until somebody folds it away
    this.body = h("div", { class: "wbl-guide-text" });
    const title = h("span", { class: "wb-label" }, "Guidelines");
    this.root = h("aside", { class: "wbl-guide", "aria-label": "Guidelines", hidden: true }, title, this.body);
  }

  draw(guide) {
    this.root.hidden = !guide || !this.open;
    if (guide === this.drawn) return;
    this.drawn = guide;
    if (guide) this.body.replaceChildren(guide.html === null ? textBlock(guide.text) : markdownBlock(guide.html));
  }

  toggle() {
    this.open = !this.open;
    return true;
  }
}

/** The reasons as buttons; what is chosen goes with the label. */
export class Reasons {
  constructor(outbox) {
    this.outbox = outbox;
    const about = { class: "wbl-reasons", role: "group", "aria-label": "Reasons", hidden: true };
    this.root = h("div", about);
  }

  /** The place of the reason that a key names; -1 where it names none. */
  placeOf(key) {
    return this.outbox.tags.findIndex((tag) => tag.key === key);
  }

  draw(press) {
    const { tags, chosen } = this.outbox;
    this.root.hidden = !tags.length;
    if (this.drawn !== tags) {
      this.drawn = tags;
      this.buttons = tags.map(({ name, key }, place) =>
        h(
          "button",
          { class: "wbl-reason", "data-action": `reason${place}`, onclick: () => press(place) },
          keycap(key),
          h("span", {}, visible(arrive(name))),
        ),
      );
      this.root.replaceChildren(h("span", { class: "wb-label" }, "Reasons"), ...this.buttons);
    }
    this.buttons?.forEach((button, place) =>
      button.setAttribute("aria-pressed", String(chosen.includes(place))),
    );
  }
}
