// The keys and buttons that label: one key, a second one for the strength, or the answers put in
// order. What a key means depends on what was pressed before it on the same item.
import { DONE } from "./notices.js";
import { h, keycap } from "../kit/safe_text.js";

const SIDED = ["left", "right"];
const MOST_PLACES = 9; // answers, or levels, that a digit can name

export class ChoiceKeys {
  /** `openEdit(choice)` is asked for the better wording of an answer. */
  constructor(outbox, openEdit) {
    this.outbox = outbox;
    this.openEdit = openEdit;
    this.places = 2;
    this.reset();
    const about = { class: "wbl-verdicts", role: "group", "aria-label": "Label" };
    this.root = h("div", about);
  }

  reset() {
    this.stage = null; // "strength" or "edit": what the next key says
    this.choice = null; // the answer whose strength is asked
    this.order = []; // the ranking so far: lists of places, best first
    this.joining = false; // the next place shares the last one's rank
    this.token = null; // the item that it is all about, where that is certain
  }

  get ranks() {
    return this.places > 2 && this.outbox.ranking;
  }

  /** The rank of an answer so far, from 1; null where it has none. */
  rankOf(place) {
    const rank = this.order.findIndex((level) => level.includes(place));
    return rank < 0 ? null : rank + 1;
  }

  /** Where a burst of keys runs ahead of the screen, what is shown is not what the keys are about. */
  begin() {
    this.token ??= this.outbox.held.length ? null : (this.outbox.shown?.token ?? null);
  }

  /** Take in which item is shown: what was begun on another one is dropped. */
  follow() {
    const { shown, texts } = this.outbox;
    if (texts) this.places = texts.responses.length;
    if (this.token && shown && shown.token !== this.token) this.reset();
  }

  // --- keys

  /** What a key means in this state: an action of its own, null where it is as usual. */
  meaning(key) {
    const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
    const named = (action) => this.outbox.keys[action].includes(key);
    if (this.stage && (key === "Escape" || named("back"))) return "stop";
    if (this.stage === "strength" && digit && digit <= this.outbox.levels.length)
      return `level${digit}`;
    if (digit && digit <= this.places && (this.places > 2 || this.stage === "edit"))
      return `place${digit - 1}`;
    if (this.ranks && this.order.length && key === "Escape") return "clear";
    if (this.ranks) return ["commit", "back", "equal"].find(named) ?? null;
    return null;
  }

  /** Do one action; returns whether it was taken, undefined where it is none of these keys'. */
  press(action) {
    const level = /^level(\d)$/.exec(action);
    const place = /^place(\d)$/.exec(action);
    if (level) return this.choose(this.choice, Number(level[1]));
    if (action === "stop" || action === "clear") return this.clear();
    if (action === "undo" && (this.stage || this.order.length)) return this.clear();
    if (action === "edit") return this.startEdit();
    if (SIDED.includes(action) && this.places > 2) return false;
    if (SIDED.includes(action)) return this.pick(action);
    if (place) return this.pick(Number(place[1]));
    if (action === "commit") return this.commit();
    if (action === "back") return this.takeBack();
    if (action === "equal") return this.join();
    if (action === "tie" || action === "both_bad") return this.choose(action);
    return undefined;
  }

  clear() {
    this.reset();
    return true;
  }

  startEdit() {
    if (!this.outbox.shown) return false;
    this.reset();
    this.begin();
    this.stage = "edit";
    return true;
  }

  pick(choice) {
    if (this.stage === "edit") {
      this.reset();
      this.openEdit(choice);
      return true;
    }
    if (typeof choice === "number" && this.ranks) return this.rank(choice);
    if (!this.outbox.levels.length) return this.choose(choice);
    this.reset();
    this.begin();
    Object.assign(this, { stage: "strength", choice });
    return true;
  }

  choose(choice, strength = null) {
    this.reset();
    return this.outbox.act("choose", strength === null ? { choice } : { choice, strength });
  }

  // --- ranking

  rank(place) {
    if (this.rankOf(place)) return this.outbox.say(`Answer ${place + 1} has its rank already.`);
    this.begin();
    if (this.joining && this.order.length) this.order.at(-1).push(place);
    else this.order.push([place]);
    this.joining = false;
    return true;
  }

  join() {
    if (!this.order.length) return this.outbox.say("Rank one answer first.");
    this.joining = !this.joining;
    return true;
  }

  takeBack() {
    if (this.joining) this.joining = false;
    else if (this.order.at(-1)?.length > 1) this.order.at(-1).pop();
    else if (!this.order.pop()) return this.outbox.say("No answer has a rank yet.");
    return true;
  }

  commit() {
    if (!this.order.length) return this.outbox.say("Rank the best answer first.");
    const rest = Array.from({ length: this.places }, (_, n) => n).filter((n) => !this.rankOf(n));
    const places = rest.length ? [...this.order, rest] : this.order;
    this.reset();
    return this.outbox.act("rank", { places });
  }

  // --- buttons

  /** Draw the buttons that this state has; `press` is what they do. */
  draw(press) {
    const buttons = this.stage === "strength" ? this.levelButtons(press) : this.buttons(press);
    const many = this.places > 2 || this.stage === "strength";
    this.root.classList.toggle("many", many);
    this.root.classList.toggle("editing", this.stage === "edit" && !many);
    this.root.replaceChildren(...buttons);
  }

  button(press, action, title, caps, more = {}) {
    const { side = "", ...rest } = more;
    const about = { class: `wbl-verdict ${side}`, "data-action": action, ...rest };
    const keys = caps.map(keycap);
    const inside = action === "right" ? [title, ...keys] : [...keys, title];
    return h("button", { ...about, onclick: () => press(action) }, ...inside);
  }

  levelButtons(press) {
    const choice = DONE[this.choice] ?? `${this.choice + 1} is best`;
    const levels = this.outbox.levels.map((name, n) =>
      this.button(press, `level${n + 1}`, name, [String(n + 1)]),
    );
    const back = this.button(press, "stop", "Back", [this.outbox.keys.back[0]]);
    return [h("div", { class: "wbl-asked" }, `${choice}: how much?`), ...levels, back];
  }

  buttons(press) {
    const { keys } = this.outbox;
    const caps = (action) => keys[action].slice(0, 2);
    const editing = this.stage === "edit";
    const asked = editing
      ? [h("div", { class: "wbl-asked" }, "Which answer will you word better?")]
      : [];
    const back = editing ? [this.button(press, "stop", "Back", [keys.back[0]])] : [];
    if (this.places === 2) {
      const plain = (action) => this.button(press, action, DONE[action], caps(action));
      const middle = editing ? back : [plain("tie"), plain("both_bad")];
      const titles = editing ? { left: "Left", right: "Right" } : DONE;
      const side = (name) => this.button(press, name, titles[name], caps(name), { side: name });
      return [...asked, side("left"), ...middle, side("right")];
    }
    const numbered = Array.from({ length: this.places }, (_, n) => this.placeButton(press, n));
    if (editing) return [...asked, ...numbered, ...back];
    const others = [
      this.button(press, "tie", "All equal", caps("tie")),
      this.button(press, "both_bad", "All bad", caps("both_bad")),
    ];
    return [...numbered, ...(this.ranks ? this.rankButtons(press) : []), ...others];
  }

  placeButton(press, place) {
    const ranking = this.ranks && this.stage !== "edit";
    const named = this.ranks || this.stage === "edit";
    const cap = place < MOST_PLACES ? [String(place + 1)] : [];
    const more = ranking ? { "aria-pressed": String(this.rankOf(place) !== null) } : {};
    const title = named ? `Answer ${place + 1}` : `${place + 1} is best`;
    return this.button(press, `place${place}`, title, cap, more);
  }

  rankButtons(press) {
    const { keys } = this.outbox;
    const named = this.order.flat().length;
    const whole = named === this.places || !named;
    const title = whole ? "Save ranking" : "Save, the rest share the last rank";
    return [
      this.button(press, "equal", "Same rank", [keys.equal[0]], {
        "aria-pressed": String(this.joining),
        disabled: !named,
      }),
      this.button(press, "back", "Back", [keys.back[0]], { disabled: !named }),
      this.button(press, "commit", title, [keys.commit[0]], { side: "go", disabled: !named }),
    ];
  }
}

/** 1st, 2nd, 3rd, 4th … */
export function ordinal(n) {
  return `${n}${["th", "st", "nd", "rd"][n] ?? "th"}`;
}
