// Boxes to type in: a note, a better answer, a number to go to. No key typed in one does anything else.
import { h, keycap } from "../kit/safe_text.js";

export class Box {
  /**
   * `field`: the input; `title`: what is asked; `saves`: the words and the key of its button.
   * With `Ctrl+Enter` as the key, Enter makes a new line. `save(text, about)` gets what was typed and
   * what the box was opened with; `closed()` comes after either end.
   */
  constructor({ name, field, title, saves: [words, key], save, closed }) {
    Object.assign(this, { field, key, save, closed, about: null });
    this.title = h("label", { class: "wb-label" }, title);
    field.setAttribute("aria-label", title);
    field.addEventListener("keydown", (event) => this.typed(event));
    const done = h("button", { onclick: () => this.finish() }, words, keycap(key));
    const cancel = h("button", { class: "wb-quiet", onclick: () => this.close() });
    cancel.append("Cancel", keycap("Escape"));
    const buttons = h("div", {}, done, cancel);
    this.root = h("div", { class: `wbl-box ${name}`, hidden: true }, this.title, field, buttons);
  }

  get isOpen() {
    return !this.root.hidden;
  }

  /** `about` is handed to `save`; `about.token` says which item it belongs to. */
  open(text, about, title = this.title.textContent) {
    this.about = about;
    this.title.textContent = title;
    this.field.setAttribute("aria-label", title);
    this.field.value = text;
    this.root.hidden = false;
    this.field.focus();
  }

  close() {
    if (!this.isOpen) return;
    this.root.hidden = true;
    this.closed();
  }

  finish() {
    const { about } = this;
    const text = this.field.value;
    this.close();
    this.save(text, about);
  }

  typed(event) {
    if (event.isComposing || event.keyCode === 229) return; // a word is being put together
    const control = event.ctrlKey || event.metaKey;
    const ends = this.key === "Enter" ? !event.shiftKey : control;
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && ends) this.finish();
    else return;
    event.preventDefault();
  }
}
