// The labeller as it looks: prompt, answers, keys. It shows what the outbox holds and passes on what
// is pressed.
import { outboxOf } from "./outbox.js";
import { ItemView } from "./item_view.js";
import { endOf, helpOf, noticeOf } from "./notices.js";
import { arrive, grouped, guardKeys, h, keycap, visible } from "../kit/safe_text.js";
import { ChoiceKeys } from "./choice_keys.js";
import { Guide, Reasons } from "./reasons.js";
import { TextEntry } from "./text_entry.js";

const MIN_LABELS = 5; // before a speed means anything
const TOOLS = {
  ...{ skip: "Skip", flag: "Flag", note: "Note", edit: "Edit", undo: "Undo", redo: "Redo" },
  ...{ jump: "Go to", diff: "Differences", render: "Markdown", guide: "Guidelines", help: "Keys" },
};
const STAGED = ["commit", "back", "equal"]; // keys that mean nothing but in a ranking or a question

export class LabellerView {
  constructor(model, el) {
    this.outbox = outboxOf(model);
    this.drawn = {}; // what the last drawing of each part was made from
    this.buttons = {}; // the tools by their action
    this.entry = new TextEntry(this.outbox, () => this.focus());
    this.choices = new ChoiceKeys(this.outbox, (choice) => this.entry.openEdit(choice));
    this.guide = new Guide();
    this.reasons = new Reasons(this.outbox);
    this.item = new ItemView(this.outbox, {
      changed: (...part) => this.changed(...part),
      unfold: () => this.press("unfold"),
    });
    this.build();
    el.append(this.root);
    this.detach = this.outbox.attach(() => this.draw());
  }

  focus() {
    this.root.focus({ preventScroll: true });
  }

  // --- building

  build() {
    this.banner = h("div", { class: "wb-banner", role: "alert", hidden: true });
    this.end = h("div", { class: "wbl-end", hidden: true });
    this.help = h("div", { class: "wbl-help", hidden: true });
    this.wait = h("p", { class: "wbl-wait wb-muted", "aria-busy": "true" }, "Waiting for the first pair …");
    this.body = h("div", { class: "wbl-body" }, this.item.root, this.guide.root);
    this.root = h(
      "div",
      { class: "wb wbl", role: "group", "aria-label": "Labeller" },
      this.buildHead(),
      this.banner,
      this.wait,
      this.body,
      this.end,
      ...this.entry.boxes.map((box) => box.root),
      this.reasons.root,
      this.choices.root,
      this.buildFoot(),
      this.help,
    );
    guardKeys(this.root, (key, event) => this.key(key, event));
    this.root.addEventListener("click", (event) => {
      const reading = String(document.getSelection() ?? "");
      if (!event.target.closest("textarea") && !reading && !this.entry.isOpen) this.focus();
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
    const { keys, guide, tags } = this.outbox;
    for (const [action, title] of Object.entries(TOOLS)) {
      if (action === "guide" && !guide) continue;
      const about = { class: "wb-quiet", "data-action": action };
      const inside = [title, keycap(keys[action][0])];
      this.buttons[action] = h("button", { ...about, onclick: () => this.press(action) }, ...inside);
    }
    this.tools.replaceChildren(...Object.values(this.buttons));
    this.item.nameKey(keys.unfold[0]);
    this.help.replaceChildren(...helpOf(keys, tags));
  }

  // --- pressing

  /** True when the key was ours. */
  key(key, event) {
    if (!this.outbox.keys) return false;
    const wanted = key.length === 1 ? key.toLowerCase() : key;
    if (key === "Escape" && !this.help.hidden) return this.press("help");
    const reason = this.reasons.placeOf(wanted);
    if (reason >= 0) return event.repeat || this.pressReason(reason);
    const usual = Object.entries(this.outbox.keys).find(([, names]) => names.includes(wanted));
    const action = this.choices.meaning(wanted) ?? usual?.[0];
    if (!action || (STAGED.includes(action) && !this.choices.meaning(wanted))) return false;
    return event.repeat || this.press(action);
  }

  pressReason(place) {
    if (!this.outbox.finished && this.outbox.toggleReason(place)) this.flash(`reason${place}`);
    if (!this.entry.isOpen) this.focus();
    this.draw();
    return true;
  }

  /** Do one action by its name; true, so that a key counts as used. */
  press(action) {
    const { outbox } = this;
    let taken = this.choices.press(action);
    if (taken === undefined) {
      taken = true;
      if (action === "diff") this.item.toggleDiff();
      else if (action === "render") this.item.toggleMarkdown();
      else if (action === "unfold") this.item.unfold();
      else if (action === "help") this.help.hidden = !this.help.hidden;
      else if (action === "guide") taken = outbox.guide ? this.guide.toggle() : false;
      else if (action === "note") this.entry.openNote();
      else if (action === "jump") this.entry.openJump();
      else if (action === "flag" && outbox.shown?.flagged)
        taken = outbox.say("Flagged already; undo takes the flag back.");
      else taken = this.decide(action);
    }
    if (taken) this.flash(action);
    if (!this.entry.isOpen) this.focus();
    this.showPressed({ help: !this.help.hidden });
    this.draw();
    return true;
  }

  /** Skip, flag, undo, redo: what was begun on the item is dropped. */
  decide(action) {
    if (action !== "flag") this.choices.reset();
    return this.outbox.act(action);
  }

  flash(action) {
    const button = this.root.querySelector(`[data-action="${action}"]`);
    if (!button) return;
    button.classList.add("hit");
    setTimeout(() => button.classList.remove("hit"), 160);
  }

  // --- drawing

  /** Whether a part has to be drawn anew, being made from other things than last time. */
  changed(part, ...from) {
    const before = this.drawn[part];
    this.drawn[part] = from;
    return !before || from.some((value, i) => value !== before[i]);
  }

  draw() {
    const { outbox } = this;
    const { shown, texts, finished, keys } = outbox;
    this.choices.follow();
    const { places, ranks, stage, order, joining, choice } = this.choices;
    if (keys && this.changed("tools", keys, outbox.guide, outbox.tags)) this.buildTools();
    const state = JSON.stringify([places, stage, order, joining, choice, outbox.levels]);
    if (keys && this.changed("choices", keys, state)) this.choices.draw((act) => this.press(act));
    const many = ranks ? "Which answer is best, and which comes next?" : "Which answer is best?";
    this.question.textContent = places > 2 ? many : "Which answer is better?";
    this.drawHead();
    this.drawNotice();
    this.drawStatus();
    this.root.classList.toggle("waiting", !texts && !finished);
    this.wait.hidden = Boolean(outbox.progress);
    this.track.hidden = !outbox.progress;
    this.body.hidden = finished || !outbox.progress;
    this.guide.draw(outbox.guide);
    this.buttons.guide?.setAttribute("aria-expanded", String(this.guide.open));
    this.reasons.draw((place) => this.pressReason(place));
    this.reasons.root.hidden ||= finished;
    this.choices.root.hidden = finished || !keys;
    this.end.hidden = !finished;
    if (finished && this.changed("end", JSON.stringify(outbox.progress)))
      this.end.replaceChildren(...endOf(outbox.progress));
    for (const tool of this.tools.children)
      tool.disabled = finished && !["undo", "redo", "jump", "help"].includes(tool.dataset.action);
    if (shown && texts) this.drawItem(shown, texts);
    this.entry.follow();
  }

  drawItem(shown, texts) {
    this.item.draw(shown, texts, (place) => this.choices.rankOf(place));
    this.buttons.diff.disabled = texts.responses.length !== 2;
    const { diff, markdown } = this.item;
    const edit = this.choices.stage === "edit";
    const { flagged: flag, note } = shown;
    this.showPressed({ diff, render: markdown, edit, flag, note: Boolean(note) });
  }

  /** Mark tools, by their action, as switched on or off. */
  showPressed(states) {
    for (const [action, on] of Object.entries(states))
      this.buttons[action]?.setAttribute("aria-pressed", String(on));
  }

  drawHead() {
    const { progress, annotator } = this.outbox;
    if (!progress) return;
    const { done, skipped, left, total, per_hour: pace, agreement, consistency } = progress;
    const decided = done + skipped;
    this.who.replaceChildren(visible(arrive(annotator)));
    this.bar.style.width = `${total ? (100 * decided) / total : 0}%`;
    this.track.setAttribute("aria-valuemax", total);
    this.track.setAttribute("aria-valuenow", decided);
    this.count.textContent = `${grouped(done)} of ${grouped(total)} labelled`;
    const others = total - done - skipped - left; // as many as may have labelled these
    const parts = [
      `${grouped(left)} left`,
      others > 0 && `${grouped(others)} by others`,
      skipped && `${grouped(skipped)} skipped`,
      pace && done >= MIN_LABELS && `${grouped(Math.round(pace))} an hour`,
      agreement !== null && `${percent(agreement)} agreement`,
      consistency !== null && `${percent(consistency)} consistent`,
    ];
    this.pace.textContent = parts.filter(Boolean).join(" · ");
  }

  drawNotice() {
    const { trouble, refused, silent, unsaved } = this.outbox;
    if (!this.changed("notice", trouble, refused, silent, unsaved)) return;
    const notice = noticeOf(this.outbox);
    this.banner.hidden = !notice;
    this.banner.className = `wb-banner ${notice?.level ?? ""}`;
    this.banner.replaceChildren(...(notice?.nodes ?? []));
  }

  drawStatus() {
    const { last, unsaved, trouble, silent } = this.outbox;
    const saving = unsaved > 0 && !trouble && !silent;
    const saved = last?.saved === true && !unsaved;
    let text = last?.words ?? "";
    if (last && saved) text = `✓ ${text} · ${this.outbox.saved}`;
    else if (last && saving && last.saved === false) text = `${text} · saving…`;
    this.status.textContent = text;
    this.status.classList.toggle("saved", saved);
    this.unsaved.hidden = !unsaved || (saving && unsaved < 2);
    this.unsaved.textContent = `${grouped(unsaved)} unsaved`;
  }
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}
