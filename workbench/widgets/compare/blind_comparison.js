// Models compared blind: the labeller, and after "reveal" the comparison with who wrote what.
import { ComparisonView } from "./comparison_view.js";
import { grouped, h, keycap } from "../kit/dom.js";
import { LabellerView } from "../labeller/labeller_view.js";

const REVEAL = "v";

export default class BlindComparison extends LabellerView {
  constructor(model, el) {
    super(model, el);
    this.model = model;
    this.el = el;
    this.take = (message) => message.type === "rows" && !message.to && this.show(message);
    model.on("msg:custom", this.take);
  }

  close() {
    this.detach();
    this.model.off("msg:custom", this.take);
    this.comparison?.close();
  }

  buildTools() {
    super.buildTools();
    const about = { class: "wb-quiet", "data-action": "reveal", onclick: () => this.reveal() };
    this.tools.append(h("button", about, "Reveal", keycap(REVEAL)));
  }

  key(key, event) {
    if (key.toLowerCase() !== REVEAL || !this.outbox.keys) return super.key(key, event);
    return event.repeat || this.reveal();
  }

  press(action) {
    this.asked = false; // whoever goes on judging has not said that they are sure
    return super.press(action);
  }

  /** Show who wrote what, once all is saved; twice where prompts are left: it ends the judging. */
  reveal() {
    this.revealing = true;
    this.revealNow();
    this.focus();
    return true;
  }

  revealNow() {
    const { outbox } = this;
    if (!this.revealing || !outbox.progress || outbox.unsaved || outbox.held.length) return;
    this.revealing = false;
    const { left } = outbox.progress;
    if (!left || this.asked) return outbox.tell({ type: "reveal" });
    this.asked = true; // the next press reveals, however long it takes to decide
    const some = left === 1 ? "1 prompt is" : `${grouped(left)} prompts are`;
    outbox.say(`${some} not judged. Press V again to reveal the models and end the judging.`);
  }

  draw() {
    super.draw();
    if (this.revealing) this.revealNow();
    const { finished, progress } = this.outbox;
    if (!finished || !this.changed("judged", JSON.stringify(progress))) return;
    const { done, skipped } = progress;
    const button = h("button", { class: "wbl-reveal", onclick: () => this.reveal() }, "Reveal who wrote what", keycap(REVEAL));
    this.end.replaceChildren(
      h("div", { class: "wbl-tick", "aria-hidden": "true" }, "✓"),
      h("h3", {}, "Everything is judged"),
      h("p", { class: "wb-muted" }, `${grouped(done)} judged, ${grouped(skipped)} skipped. Undo still works, until you reveal.`),
      button,
    );
  }

  show(message) {
    if (this.comparison) return;
    this.detach();
    this.root.remove();
    this.comparison = new ComparisonView(this.model, this.el, message);
    this.comparison.root.focus({ preventScroll: true });
  }
}
