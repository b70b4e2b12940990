// What is typed at the labeller: a note, a better wording of an answer, the number to go to.
import { Box } from "./text_boxes.js";
import { arrive, h } from "../kit/safe_text.js";

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
