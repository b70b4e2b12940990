// The labeller as it looks: prompt, answers, keys. It shows a desk and passes on what is pressed.
import { Box } from "./boxes.js";
import { deskOf } from "./desk.js";
import { endOf, helpOf, marksOf, noticeOf } from "./notices.js";
import { arrive, compareTurns, grouped, guardKeys, h, keycap, turns, visible } from "./reading.js";
import { markdownBlock } from "./rendered.js";
import { ordinal, Verdicts } from "./verdicts.js";

const TALL = 460; // pixels of a text that are shown before it is folded
const MIN_LABELS = 5; // before a speed means anything
const STAGED = ["commit", "back", "equal"]; // keys that mean nothing but in a ranking or a question

export class LabellerView {
  constructor(model, el) {
    this.desk = deskOf(model);
    this.diff = false;
    this.markdown = false;
    this.unfolded = false;
    this.wanted = null; // {choice, token}: an edit that waits for the whole text
    this.verdicts = new Verdicts(this.desk, (choice) => this.openEdit(choice));
    this.drawn = {}; // what the last drawing of each part was made from
    this.build();
    el.append(this.root);
    this.detach = this.desk.attach(() => this.draw());
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  // --- building

  build() {
    this.banner = h("div", { class: "wb-banner", role: "alert", hidden: true });
    this.end = h("div", { class: "wbl-end", hidden: true });
    this.help = h("div", { class: "wbl-help", hidden: true });
    this.root = h(
      "div",
      { class: "wb wbl", role: "group", "aria-label": "Labeller" },
      this.buildHead(),
      this.banner,
      this.buildItem(),
      this.end,
      ...this.buildBoxes(),
      this.verdicts.root,
      this.buildFoot(),
      this.help,
    );
    guardKeys(this.root, (key, event) => this.key(key, event));
    this.root.addEventListener("click", (event) => {
      const reading = String(document.getSelection() ?? "");
      if (!event.target.closest("textarea") && !reading && !this.typing) this.focus();
    });
  }

  buildHead() {
    this.question = h("strong", { class: "wbl-question" });
    this.who = h("span", { class: "wb-chip" });
    this.bar = h("i", {});
    const about = { class: "wbl-track", role: "progressbar", "aria-label": "labels done" };
    this.track = h("div", { ...about, "aria-valuemin": 0 }, this.bar);
    this.count = h("span", { class: "wb-num" });
    this.pace = h("span", { class: "wb-muted wb-num" });
    const parts = [this.question, this.who, this.track, this.count, this.pace];
    return h("header", { class: "wbl-head" }, ...parts);
  }

  buildItem() {
    this.marks = h("span", { class: "wbl-marks" });
    this.prompt = h("div", { class: "wb-fold" });
    this.answers = h("div", { class: "wbl-answers" });
    const slow = "These two are too long and too different to compare in time.";
    this.slow = h("p", { class: "wbl-slow wb-muted", hidden: true }, slow);
    this.more = h("button", { class: "wb-link wbl-more", hidden: true });
    this.more.addEventListener("click", () => this.press("unfold"));
    const top = h("div", { class: "wbl-top" }, h("span", { class: "wb-label" }, "Prompt"));
    top.append(this.marks);
    const prompt = h("section", { class: "wbl-prompt" }, top, this.prompt);
    this.item = h("div", { class: "wbl-item" }, prompt, this.slow, this.answers, this.more);
    return this.item;
  }

  buildBoxes() {
    const area = (rows, placeholder = "") => h("textarea", { rows, placeholder, dir: "auto" });
    const closed = () => this.focus();
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
    return this.boxes.map((box) => box.root);
  }

  buildFoot() {
    this.status = h("span", { class: "wbl-status wb-num", role: "status" });
    this.unsaved = h("span", { class: "wb-chip orange wb-num", hidden: true });
    this.tools = h("div", { class: "wbl-tools" });
    const hint = h("span", { class: "wbl-hint wb-chip blue" }, "Click here to use the keys");
    const said = h("div", { class: "wbl-said" }, this.status, this.unsaved, hint);
    return h("footer", { class: "wbl-foot" }, said, this.tools);
  }

  /** The buttons carry the keys, which Python may have changed: made when it has said them. */
  buildTools() {
    const { keys } = this.desk;
    const tool = (action, title) => {
      const about = { class: "wb-quiet", "data-action": action };
      const inside = [title, keycap(keys[action][0])];
      return h("button", { ...about, onclick: () => this.press(action) }, ...inside);
    };
    this.diffButton = tool("diff", "Differences");
    this.markdownButton = tool("render", "Markdown");
    this.editButton = tool("edit", "Edit");
    this.flagButton = tool("flag", "Flag");
    this.noteButton = tool("note", "Note");
    this.helpButton = tool("help", "Keys");
    this.tools.replaceChildren(
      tool("skip", "Skip"),
      this.flagButton,
      this.noteButton,
      this.editButton,
      tool("undo", "Undo"),
      tool("redo", "Redo"),
      tool("jump", "Go to"),
      this.diffButton,
      this.markdownButton,
      this.helpButton,
    );
    this.more.replaceChildren("Show all of it", keycap(keys.unfold[0]));
    this.help.replaceChildren(...helpOf(keys));
  }

  // --- pressing

  /** True when the key was ours. */
  key(key, event) {
    if (!this.desk.keys) return false;
    const wanted = key.length === 1 ? key.toLowerCase() : key;
    if (key === "Escape" && !this.help.hidden) return this.press("help");
    const usual = Object.entries(this.desk.keys).find(([, names]) => names.includes(wanted));
    const action = this.verdicts.meaning(wanted) ?? usual?.[0];
    if (!action || (STAGED.includes(action) && !this.verdicts.meaning(wanted))) return false;
    return event.repeat || this.press(action);
  }

  /** Do one action by its name; true, so that a key counts as used. */
  press(action) {
    const { desk } = this;
    let taken = this.verdicts.press(action);
    if (taken === undefined) {
      taken = true;
      if (action === "diff") this.toggleDiff();
      else if (action === "render") this.toggleMarkdown();
      else if (action === "unfold") this.unfold();
      else if (action === "help") this.help.hidden = !this.help.hidden;
      else if (action === "note") this.openNote();
      else if (action === "jump") this.openJump();
      else if (action === "flag" && desk.shown?.flagged)
        taken = desk.say("Flagged already; undo takes the flag back.");
      else taken = this.decide(action);
    }
    if (taken) this.flash(action);
    if (!this.typing) this.focus();
    this.helpButton?.setAttribute("aria-pressed", String(!this.help.hidden));
    this.draw();
    return true;
  }

  /** Skip, flag, undo, redo: what was begun on the item is dropped. */
  decide(action) {
    if (action !== "flag") this.verdicts.reset();
    return this.desk.act(action);
  }

  flash(action) {
    const button = this.root.querySelector(`[data-action="${action}"]`);
    if (!button) return;
    button.classList.add("hit");
    setTimeout(() => button.classList.remove("hit"), 160);
  }

  toggleDiff() {
    this.diff = !this.diff;
    if (this.diff && this.isCut) this.desk.whole();
    this.draw();
  }

  unfold() {
    this.unfolded = true;
    if (this.isCut) this.desk.whole();
    this.draw();
  }

  get isCut() {
    const { texts } = this.desk;
    if (!texts) return false;
    return [texts.prompt, ...texts.responses].flat().some((message) => message.cut);
  }

  toggleMarkdown() {
    this.markdown = !this.markdown;
    if (this.markdown) this.desk.render();
    this.draw();
  }

  // --- typing

  get typing() {
    return this.boxes.some((box) => box.isOpen);
  }

  openNote() {
    const { shown } = this.desk;
    if (shown) this.note.open(arrive(shown.note), { token: shown.token });
  }

  saveNote(text, { token }) {
    const { shown } = this.desk;
    if (shown?.token === token && text !== arrive(shown.note)) this.desk.act("note", { text });
  }

  openJump() {
    const { progress, shown } = this.desk;
    if (!progress) return;
    this.jump.field.max = progress.total;
    this.jump.open(shown ? shown.position + 1 : "", {}, `Go to number, 1 to ${progress.total}`);
    this.jump.field.select();
  }

  goTo(number) {
    const { total } = this.desk.progress;
    if (Number.isInteger(number) && number >= 1 && number <= total) this.desk.jump(number - 1);
    else this.desk.say(`There is no number ${number}; give 1 to ${total}.`);
  }

  /** Open the box for a better wording, once the whole of the answer is here. */
  openEdit(choice) {
    const { desk } = this;
    if (!desk.shown || !desk.texts || desk.held.length) return desk.say("Not yet: wait for the pair.");
    this.wanted = { choice, token: desk.shown.token };
    if (this.isCut) desk.whole();
    else this.beginEdit();
  }

  beginEdit() {
    const { wanted, desk } = this;
    if (!wanted || wanted.token !== desk.shown?.token || this.isCut) return;
    this.wanted = null;
    const place = { left: 0, right: 1 }[wanted.choice] ?? wanted.choice;
    const side = desk.texts.responses.length === 2 ? ["left", "right"][place] : `number ${place + 1}`;
    const text = arrive(desk.texts.responses[place].at(-1).content);
    this.edit.open(text, { ...wanted, before: text }, `A better answer, made from ${side}`);
    this.edit.field.setSelectionRange(0, 0);
  }

  saveEdit(text, { choice, token, before }) {
    if (this.desk.shown?.token !== token) return;
    if (text.replaceAll("\r", "") === before.replaceAll("\r", ""))
      this.desk.say("Not taken: nothing was changed.");
    else this.desk.act("edit", { choice, text });
  }

  // --- drawing

  /** Whether a part has to be drawn anew, being made from other things than last time. */
  changed(part, ...from) {
    const before = this.drawn[part];
    this.drawn[part] = from;
    return !before || from.some((value, i) => value !== before[i]);
  }

  draw() {
    const { desk } = this;
    const { shown, texts, finished, keys } = desk;
    this.verdicts.follow();
    const { places, ranks, stage, order, joining, choice } = this.verdicts;
    if (keys && this.changed("tools", keys)) this.buildTools();
    const state = JSON.stringify([places, stage, order, joining, choice, desk.levels]);
    if (keys && this.changed("verdicts", keys, state)) this.verdicts.draw((act) => this.press(act));
    const many = ranks ? "Which answer is best, and which comes next?" : "Which answer is best?";
    this.question.textContent = places > 2 ? many : "Which answer is better?";
    this.drawHead();
    this.drawNotice();
    this.drawStatus();
    this.root.classList.toggle("waiting", !texts && !finished);
    this.item.hidden = finished;
    this.verdicts.root.hidden = finished || !keys;
    this.end.hidden = !finished;
    if (finished && this.changed("end", JSON.stringify(desk.progress)))
      this.end.replaceChildren(...endOf(desk.progress));
    for (const tool of this.tools.children)
      tool.disabled = finished && !["undo", "redo", "jump", "help"].includes(tool.dataset.action);
    if (shown && texts) this.drawItem(shown, texts);
    if (shown && texts && this.wanted) this.beginEdit();
    for (const box of [this.note, this.edit])
      if (box.isOpen && box.about.token !== shown?.token) box.close();
  }

  drawHead() {
    const { progress, annotator } = this.desk;
    if (!progress) return;
    const { done, skipped, left, total, per_hour: pace, agreement, consistency } = progress;
    const decided = done + skipped;
    this.who.replaceChildren(visible(arrive(annotator)));
    this.bar.style.width = `${total ? (100 * decided) / total : 0}%`;
    this.track.setAttribute("aria-valuemax", total);
    this.track.setAttribute("aria-valuenow", decided);
    this.count.textContent = `${grouped(done)} of ${grouped(total)} labelled`;
    const parts = [
      `${grouped(left)} left`,
      skipped && `${grouped(skipped)} skipped`,
      pace && done >= MIN_LABELS && `${grouped(Math.round(pace))} an hour`,
      agreement !== null && `${percent(agreement)} agreement`,
      consistency !== null && `${percent(consistency)} consistent`,
    ];
    this.pace.textContent = parts.filter(Boolean).join(" · ");
  }

  drawNotice() {
    const { trouble, refused, silent, unsaved } = this.desk;
    if (!this.changed("notice", trouble, refused, silent, unsaved)) return;
    const notice = noticeOf(this.desk);
    this.banner.hidden = !notice;
    this.banner.className = `wb-banner ${notice?.level ?? ""}`;
    this.banner.replaceChildren(...(notice?.nodes ?? []));
  }

  drawStatus() {
    const { last, unsaved, trouble, silent } = this.desk;
    const saving = unsaved > 0 && !trouble && !silent;
    const saved = last?.saved === true && !unsaved;
    let text = last?.words ?? "";
    if (last && saved) text = `✓ ${text} · saved`;
    else if (last && saving && last.saved === false) text = `${text} · saving…`;
    this.status.textContent = text;
    this.status.classList.toggle("saved", saved);
    this.unsaved.hidden = !unsaved || (saving && unsaved < 2);
    this.unsaved.textContent = `${grouped(unsaved)} unsaved`;
  }

  drawItem(shown, texts) {
    if (this.changed("token", shown.token)) this.unfolded = false;
    const html = this.markdown && !this.diff ? (this.desk.rendered.get(shown.token) ?? null) : null;
    if (this.changed("texts", texts, this.diff, html)) this.drawTexts(texts, html);
    this.drawRanks();
    this.fold();
    this.marks.replaceChildren(...marksOf({ ...shown, note: arrive(shown.note) }));
    this.diffButton.disabled = texts.responses.length !== 2;
    this.diffButton.setAttribute("aria-pressed", String(this.diff));
    this.markdownButton.setAttribute("aria-pressed", String(this.markdown));
    this.editButton.setAttribute("aria-pressed", String(this.verdicts.stage === "edit"));
    this.flagButton.setAttribute("aria-pressed", String(shown.flagged));
    this.noteButton.setAttribute("aria-pressed", String(Boolean(shown.note)));
  }

  /** Draw the texts; `html`: as rendered Markdown, where that is here. */
  drawTexts({ prompt, responses }, html) {
    if (this.diff && this.isCut) this.desk.whole();
    const two = responses.length === 2;
    const found = this.diff && two ? compareTurns(...responses) : null;
    const blocks = (list) => (list ?? []).map((text) => text !== null && markdownBlock(text));
    this.slow.hidden = !(this.diff && two && !found);
    this.prompt.replaceChildren(...turns(prompt, "user", [], "", blocks(html?.prompt)));
    this.answers.replaceChildren(
      ...responses.map((response, n) => {
        const name = two ? ["Left", "Right"][n] : `Answer ${n + 1}`;
        const tag = n ? "ins" : "del";
        const key = h("span", { class: "wbl-key wb-muted" }, h(tag, {}, "only here"));
        const top = h("div", { class: "wbl-top" }, h("span", { class: "wb-label" }, name));
        if (found) top.append(key);
        const differences = [found?.left, found?.right][n] ?? [];
        const rendered = blocks(html?.responses[n]);
        const nodes = turns(response, "assistant", differences, tag, rendered);
        const fold = h("div", { class: "wb-fold" }, ...nodes);
        return h("section", { class: `wbl-answer ${two ? name.toLowerCase() : ""}` }, top, fold);
      }),
    );
  }

  /** Each answer carries the rank that it has so far. */
  drawRanks() {
    [...this.answers.children].forEach((card, place) => {
      const rank = this.verdicts.rankOf(place);
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
    this.more.hidden = !this.isCut && !folds.some((node) => node.classList.contains("folded"));
  }
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}
