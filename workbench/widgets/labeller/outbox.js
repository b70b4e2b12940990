// What the labeller knows and does, apart from how it looks: which item is shown, which actions are
// not yet saved, when they are sent again. One outbox a model; every view of that model shares it.
import { inWords } from "./notices.js";
import { arrive, newId } from "../kit/safe_text.js";
import { forgetUnsaved, keepUnsaved, unsavedHere } from "./unsaved.js";

const MOST_UNSAVED = 5; // labels on their way; past this no more are taken
const MOST_HELD = 64; // keys that wait their turn in a burst
const SEND_AGAIN = [1500, 3000, 6000, 12000, 30000]; // ms between attempts
const SILENT = 4000; // ms without an answer until the screen says so
const STALE = 1000; // ms without an answer until waiting keys are dropped
const RETRY = 5000; // ms between attempts when the store refuses
const LOOKING = 10_000; // ms between two words to Python that somebody is looking

const DECIDING = ["choose", "rank", "edit", "skip"]; // these go on to the next item
const TURNING = ["undo", "redo"]; // only Python knows which item comes back

const outboxes = new WeakMap();

export function outboxOf(model) {
  if (!outboxes.has(model)) outboxes.set(model, new Outbox(model));
  return outboxes.get(model);
}

class Outbox {
  constructor(model) {
    this.model = model;
    this.views = new Set();
    this.items = new Map(); // token -> texts
    this.rendered = new Map(); // token -> its texts as Markdown
    this.rendering = false; // whether somebody reads Markdown
    this.guide = null; // {text, html}: what the annotator is told
    this.tags = []; // {name, key}: the reasons that may be given
    this.reasons = new Map(); // token -> places of the reasons chosen on it, not yet sent
    this.levels = []; // names of the strengths to ask for
    this.saved = "saved"; // what is said of a label that was acknowledged
    this.ranking = true; // whether more than two answers are put in order
    this.queue = []; // as Python last said: the item to decide, and those after it
    this.progress = null;
    this.going = null; // {position, asked}: where a number typed in leads
    this.pending = []; // actions sent and not acknowledged, oldest first
    this.held = []; // keys pressed while they could not be taken
    this.trouble = null; // the store refused: {what, where, fix}
    this.refused = null; // an action that will never be taken: the same
    this.silent = false;
    this.last = null; // {words, saved}
    this.heard = performance.now();
    model.on("msg:custom", (message) => this.take(message));
  }

  /** Show this outbox in a view; returns how to stop. */
  attach(draw) {
    this.views.add(draw);
    this.ask();
    this.looking ??= setInterval(() => this.look(), LOOKING);
    return () => {
      this.views.delete(draw);
      if (this.views.size) return;
      clearInterval(this.looking);
      this.looking = null;
    };
  }

  /** What is on screen stays claimed while somebody looks. */
  look() {
    if (!document.hidden && this.progress && !this.silent) this.tell({ type: "here" });
  }

  ask() {
    this.asked = performance.now();
    this.tell({ type: "ready" });
    this.watch();
  }

  /** A busy kernel may have lost the first word: ask until it answers. */
  askAgain(now) {
    if (now - Math.max(this.asked, this.askedAgain ?? 0) < SILENT) return;
    this.askedAgain = now;
    this.tell({ type: "ready" });
  }

  draw() {
    for (const draw of this.views) draw();
  }

  // --- what is shown

  /** The item on screen: the first that no action on its way decides. */
  get shown() {
    const decided = new Set(this.pending.filter((act) => act.decides).map((act) => act.token));
    return this.queue.find((entry) => !decided.has(entry.token)) ?? null;
  }

  /** The places of the reasons that stand with the item shown. */
  get chosen() {
    if (!this.shown) return [];
    return this.reasons.get(this.shown.token) ?? this.shown.tags;
  }

  /** Choose a reason, or take it back. */
  toggleReason(place) {
    if (!this.shown || !this.texts || this.held.length) return this.say("Not yet: wait for the pair.");
    const { chosen } = this;
    const others = chosen.filter((other) => other !== place);
    const next = others.length < chosen.length ? others : [...chosen, place].sort((a, b) => a - b);
    this.reasons.set(this.shown.token, next);
    return true;
  }

  get texts() {
    return this.shown ? (this.items.get(this.shown.token) ?? null) : null;
  }

  /** Whether the texts shown are but the beginning of what they are. */
  get isCut() {
    const { texts } = this;
    if (!texts) return false;
    return [texts.prompt, ...texts.responses].flat().some((message) => message.cut);
  }

  get finished() {
    return this.progress !== null && !this.queue.length && !this.pending.length;
  }

  get unsaved() {
    return this.pending.length;
  }

  // --- doing

  /**
   * Take an action on the item shown, now or as soon as its turn comes.
   * Returns whether it was taken. After undo and redo all wait for the answer.
   */
  act(action, detail = {}) {
    if (!this.progress) return false;
    if (this.trouble) return this.say("Not taken: labels before it are unsaved.");
    if (this.mustWait(action)) {
      if (this.held.length < MOST_HELD && !this.silent)
        this.held.push({ action, detail, at: performance.now() });
      else return this.say("Not taken: waiting for the kernel.");
      return true;
    }
    this.refused = null;
    const turns = TURNING.includes(action);
    if (!turns && !this.shown) return false;
    const token = turns ? null : this.shown.token;
    if (DECIDING.includes(action) && this.chosen.length) detail = { ...detail, tags: this.chosen };
    const about = { id: newId(), action, token, detail, turns, decides: DECIDING.includes(action) };
    this.pending.push({ ...about, tries: 0, made: performance.now(), at: Date.now() });
    this.last = { words: this.words(action, detail), saved: false };
    keepUnsaved(this.pending);
    this.send();
    this.watch();
    this.draw();
    return true;
  }

  /** What was done, with the reasons that were given. */
  words(action, detail) {
    const given = (detail.tags ?? []).map((place) => arrive(this.tags[place]?.name ?? ""));
    return [inWords(action, detail), ...given].join(" · ");
  }

  mustWait(action) {
    if (this.held.length && !this.releasing) return true;
    if (this.going || this.pending.length >= MOST_UNSAVED) return true;
    if (this.pending.some((act) => act.turns)) return true;
    return !TURNING.includes(action) && !this.texts && !this.finished;
  }

  release() {
    this.releasing = true;
    while (this.held.length && !this.trouble && !this.mustWait(this.held[0].action)) {
      const { action, detail } = this.held.shift();
      this.act(action, detail);
    }
    this.releasing = false;
  }

  /**
   * Send the oldest action, if it is not on its way. One at a time: a kernel may hear two
   * messages in two threads, in either order.
   */
  send(again = false) {
    const act = this.pending[0];
    if (!act || (act.tries && !again)) return;
    act.tries += 1;
    act.sent = performance.now();
    const { id, action, token, detail } = act;
    this.tell({ type: "act", id, action, token, ...detail });
  }

  tell(message) {
    try {
      this.model.send(message);
    } catch {
      // the kernel is gone; the action waits and the screen will say so
    }
  }

  /** Ask for the texts that were cut, of the item shown. */
  whole() {
    if (this.shown) this.tell({ type: "whole", token: this.shown.token });
  }

  /** Ask for the texts as Markdown, of the items that have none yet. */
  render() {
    this.rendering = true;
    for (const { token } of this.queue)
      if (!this.rendered.has(token)) {
        this.rendered.set(token, null);
        this.tell({ type: "rendered", token });
      }
  }

  /** Go to an item, once everything before it is saved; keys pressed after it wait until then. */
  jump(position) {
    if (this.held.length) return this.say("Not yet: keys before it wait for the kernel.");
    this.going = { position, asked: 0 };
    this.go();
    this.watch();
    return true;
  }

  go() {
    const { going } = this;
    if (!going || going.asked || this.pending.length) return;
    going.asked = performance.now();
    this.tell({ type: "jump", position: going.position });
  }

  say(words) {
    this.last = { words, saved: null };
    this.draw();
    return false;
  }

  // --- hearing

  take(message) {
    const woke = this.silent;
    this.heard = performance.now();
    this.silent = false;
    if (woke) this.send(true);
    if (this.going?.asked && ["state", "fault"].includes(message.type)) this.going = null;
    if (message.type === "state") this.takeState(message);
    else if (message.type === "item") this.items.set(message.token, message);
    else if (message.type === "rendered") this.rendered.set(message.token, message);
    else if (message.type === "fault") this.takeFault(message);
    this.send();
    this.go();
    this.release();
    this.draw();
  }

  takeState(state) {
    this.progress = state.progress;
    this.annotator = state.annotator;
    this.keys = state.keys ?? this.keys;
    this.levels = state.levels ?? this.levels;
    this.tags = state.tags ?? this.tags;
    if (state.guide !== undefined) this.guide = state.guide;
    this.ranking = state.ranking ?? this.ranking;
    this.saved = state.saved ?? this.saved;
    this.queue = state.queue;
    for (const item of state.items) this.items.set(item.token, item);
    if (state.ack) this.takeAck(state.ack);
    const needed = new Set([...this.queue, ...this.pending].map((entry) => entry.token));
    for (const kept of [this.items, this.rendered, this.reasons])
      for (const token of kept.keys()) if (!needed.has(token)) kept.delete(token);
    if (this.rendering) this.render();
    if (this.queue.some((entry) => !this.items.has(entry.token))) this.ask();
    if (state.keys) this.recover();
  }

  takeAck(ack) {
    const act = this.pending.find((one) => one.id === ack.id);
    if (!act) return;
    if (!ack.ok && ack.again) {
      this.trouble = ack;
      this.held = [];
      return;
    }
    this.pending = this.pending.filter((one) => one !== act);
    forgetUnsaved(act);
    this.trouble = null;
    if (ack.ok) {
      const nothing = act.turns && !ack.changed && act.tries === 1;
      const words = nothing ? `Nothing to ${act.action}` : this.words(act.action, act.detail);
      if (!this.pending.length) this.last = { words, saved: nothing ? null : true };
    } else {
      this.refused = ack;
      this.held = [];
      this.last = null;
    }
  }

  takeFault(fault) {
    if (fault.ack) this.takeAck(fault.ack);
    this.refused = { ...fault, outside: true };
  }

  // --- waiting

  watch() {
    this.timer ??= setInterval(() => this.tick(), 250);
  }

  tick() {
    const now = performance.now();
    if (!this.progress && now - this.asked > SILENT) {
      this.silent = true;
      this.askAgain(now);
    }
    const oldest = this.pending[0];
    const wait = this.trouble
      ? RETRY
      : SEND_AGAIN[Math.min(oldest?.tries ?? 1, SEND_AGAIN.length) - 1];
    if (oldest && now - oldest.sent > wait) this.send(true);
    if (oldest && !this.trouble && now - Math.max(oldest.made, this.heard) > SILENT)
      this.silent = true;
    if (this.held.length && now - Math.max(this.heard, this.held[0].at) > STALE) {
      this.say(
        `${this.held.length} ${this.held.length === 1 ? "key was" : "keys were"} not taken: the kernel is slow to answer.`,
      );
      this.held = [];
    }
    if (this.going?.asked && now - this.going.asked > SILENT)
      Object.assign(this, { going: null, silent: true });
    const idle = !this.pending.length && !this.held.length && !this.going;
    if (idle && (this.progress || !this.views.size)) {
      clearInterval(this.timer);
      this.timer = null;
    }
    this.draw();
  }

  /** Let go of what the store will not take. */
  giveUp() {
    this.pending.forEach(forgetUnsaved);
    this.pending = [];
    this.trouble = null;
    this.last = null;
    this.ask();
    this.draw();
  }

  /** Send again what an earlier page of this tab could not save, where it is this session's. */
  recover() {
    const known = new Set(this.pending.map((act) => act.id));
    const mine = unsavedHere().filter((act) => !known.has(act.id) && this.items.has(act.token));
    if (!mine.length) return;
    for (const act of mine) {
      Object.assign(act, { tries: 0, made: performance.now() });
      this.pending.push(act);
    }
    this.send();
    this.last = { words: `${mine.length} from before`, saved: false };
    this.watch();
  }
}
