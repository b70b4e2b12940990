// What is typed at the labeller: a note, a better wording of an answer, the number to go to.
import { arrive, h, keycap } from "../kit/safe_text.js";

/** A box to type in. No key that is typed in it does anything else. */
class Box {
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

export class TextEntry {
  /** `closed()` comes when a box is shut, by either end. */
  constructor(outbox, closed) {
    this.outbox = outbox;
    this.wanted = null; // {choice, token}: an edit that waits for the whole text
    const area = (rows, placeholder = "") => h("textarea", { rows, placeholder, dir: "auto" });
    this.note = new Box({
      ...{ name: "note", title: "Note", saves: ["Save note", "Enter"], closed },
      field: area(2, "What should be remembered about this pair?"),
      save: (text, about) => this.saveNote(text.trim(), about),
    });
    this.edit = new Box({
      ...{ name: "edit", title: "Better answer", saves: ["Save as the best", "Ctrl+Enter"], closed },
      field: area(8),
      save: (text, about) => this.saveEdit(text, about),
    });
    this.jump = new Box({
      ...{ name: "jump", title: "Go to number", saves: ["Go", "Enter"], closed },
      field: h("input", { type: "number", min: 1, step: 1, inputmode: "numeric" }),
      save: (text) => this.goTo(Number(text)),
    });
    this.boxes = [this.note, this.edit, this.jump];
  }

  get isOpen() {
    return this.boxes.some((box) => box.isOpen);
  }

  /** Take in which item is shown: what was begun on another one is shut. */
  follow() {
    const { shown, texts } = this.outbox;
    if (shown && texts && this.wanted) this.beginEdit();
    for (const box of [this.note, this.edit])
      if (box.isOpen && box.about.token !== shown?.token) box.close();
  }

  openNote() {
    const { shown } = this.outbox;
    if (shown) this.note.open(arrive(shown.note), { token: shown.token });
  }

  saveNote(text, { token }) {
    const { shown } = this.outbox;
    if (shown?.token === token && text !== arrive(shown.note)) this.outbox.act("note", { text });
  }

  openJump() {
    const { progress, shown } = this.outbox;
    if (!progress) return;
    this.jump.field.max = progress.total;
    this.jump.open(shown ? shown.position + 1 : "", {}, `Go to number, 1 to ${progress.total}`);
    this.jump.field.select();
  }

  goTo(number) {
    const { total } = this.outbox.progress;
    if (Number.isInteger(number) && number >= 1 && number <= total) this.outbox.jump(number - 1);
    else this.outbox.say(`There is no number ${number}; give 1 to ${total}.`);
  }

  /** Open the box for a better wording, once the whole of the answer is here. */
  openEdit(choice) {
    const { outbox } = this;
    if (!outbox.shown || !outbox.texts || outbox.held.length) return outbox.say("Not yet: wait for the pair.");
    this.wanted = { choice, token: outbox.shown.token };
    if (outbox.isCut) outbox.whole();
    else this.beginEdit();
  }

  beginEdit() {
    const { wanted, outbox } = this;
    if (!wanted || wanted.token !== outbox.shown?.token || outbox.isCut) return;
    this.wanted = null;
    const place = { left: 0, right: 1 }[wanted.choice] ?? wanted.choice;
    const side = outbox.texts.responses.length === 2 ? ["left", "right"][place] : `number ${place + 1}`;
    const text = arrive(outbox.texts.responses[place].at(-1).content);
    this.edit.open(text, { ...wanted, before: text }, `A better answer, made from ${side}`);
    this.edit.field.setSelectionRange(0, 0);
  }

  saveEdit(text, { choice, token, before }) {
    if (this.outbox.shown?.token !== token) return;
    if (text.replaceAll("\r", "") === before.replaceAll("\r", ""))
      this.outbox.say("Not taken: nothing was changed.");
    else this.outbox.act("edit", { choice, text });
  }
}
