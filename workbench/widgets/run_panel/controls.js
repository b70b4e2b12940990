// What may be asked of a live run: its buttons, and its live settings.
import { h, keycap } from "../kit/dom.js";
import { short } from "../kit/plot.js";

const CONFIRM = 4000; // ms in which stop must be pressed again
const TOLD = 10_000; // ms that an answer to a person stays
const LATE = 3; // steps after which an answer that was given before is no news
const SETTLE = 350; // ms without a further move before a slider's value is sent
const VERBS = { pause: "Pause", resume: "Resume", stop: "Stop", save: "Save", set: "Set" };

/** Pause or resume, save, stop; `ask(command, values)` sends. */
export class Buttons {
  constructor(ask) {
    this.ask = ask;
    this.step = "step";
    this.state = null;
    this.pause = h("button", { type: "button", class: "wbp-pause", onclick: () => this.toggle() });
    this.save = h("button", { type: "button", class: "wbp-save", title: "write a checkpoint now", onclick: () => this.ask("save") }, "Save", keycap("s"));
    this.stop = h("button", { type: "button", class: "wbp-stop", title: "ends the run with a checkpoint; it can be resumed", onclick: () => this.confirmStop() });
    this.outcome = h("span", { class: "wbp-told", "aria-live": "polite" });
    this.root = h("div", { class: "wbp-buttons", role: "group", "aria-label": "Steer the run" }, this.pause, this.save, this.stop, this.outcome);
    this.calm();
  }

  show(status, commands) {
    this.state = status.state;
    this.live = status.live;
    const paused = status.state === "paused";
    const dead = status.state === "failed" || status.state === "stopped";
    const again = status.checkpoint === null ? "Start over" : "Resume from the last checkpoint";
    this.pause.replaceChildren(paused ? "Resume" : dead ? again : "Pause", keycap("p"));
    this.pause.disabled = !(status.live || dead);
    this.save.hidden = this.stop.hidden = !status.live;
    this.pause.hidden = status.state === "finished";
    this.telling ??= new Telling();
    const last = this.telling.fresh(commands.filter((row) => row.command !== "set").at(-1), status.step, () => this.show(status, commands));
    this.outcome.textContent = last ? spoken(last, this.step) : "";
    this.outcome.hidden = !last;
    this.outcome.classList.toggle("waiting", Boolean(last && !last.answer));
  }

  toggle() {
    if (!this.pause.disabled) this.ask(this.live && this.state !== "paused" ? "pause" : "resume");
  }

  confirmStop() {
    if (!this.live) return;
    if (!this.sure) {
      this.sure = setTimeout(() => this.calm(), CONFIRM);
      this.stop.replaceChildren("Stop? It can be resumed. Press again", keycap("x"));
      this.stop.classList.add("sure");
      return;
    }
    this.calm();
    this.ask("stop");
  }

  calm() {
    clearTimeout(this.sure);
    this.sure = null;
    this.stop.replaceChildren("Stop", keycap("x"));
    this.stop.classList.remove("sure");
  }

  close() {
    clearTimeout(this.sure);
    this.telling?.close();
  }
}

/** How long an answer to a person is worth showing: some seconds, and not when it is old news. */
class Telling {
  constructor() {
    this.since = new Map(); // what was answered -> when it was first seen
  }

  /** The command, or null where its answer is old; `again` is called when it has become so. */
  fresh(command, step, again) {
    clearTimeout(this.timer);
    if (!command?.answer) return command ?? null;
    const key = `${command.id} ${command.answer}`;
    if (!this.since.has(key)) this.since.set(key, command.step !== null && step - command.step > LATE ? 0 : Date.now());
    const left = this.since.get(key) + TOLD - Date.now();
    if (left <= 0) return null;
    this.timer = setTimeout(again, left + 20);
    return command;
  }

  close() {
    clearTimeout(this.timer);
  }
}

/** "Pause asked …", then "Pause done at step 12". */
function spoken(command, step) {
  const verb = VERBS[command.command] ?? command.command;
  if (!command.answer) return `${verb}: asked, waiting for the run …`;
  if (command.answer === "done") return `${verb}: done at ${step} ${command.step}`;
  return `${verb}: ${command.answer}${command.why ? " (" + command.why + ")" : ""}`;
}

/** Sliders and fields for the settings that may change while it runs. */
export class LiveSettings {
  constructor(ask) {
    this.ask = ask;
    this.step = "step";
    this.fields = new Map();
    this.grid = h("div", { class: "wbp-settings" });
    this.root = h("div", { class: "wbp-live", role: "group", "aria-label": "Live settings" }, this.grid);
  }

  show(settings, commands, status) {
    this.root.hidden = !settings.length || !status.live;
    for (const setting of settings) {
      let field = this.fields.get(setting.name);
      if (!field) {
        field = new SettingField(setting, (value) => this.ask("set", { [setting.name]: value }), this.step);
        this.fields.set(setting.name, field);
        this.grid.append(field.root);
      }
      const command = commands.filter((row) => row.command === "set" && setting.name in row.values).at(-1);
      field.show(setting, command, status.step);
    }
  }

  close() {
    for (const field of this.fields.values()) field.close();
  }
}

class SettingField {
  constructor(setting, commit, step) {
    this.commit = commit;
    this.step = step;
    this.setting = setting;
    const label = h("span", { class: "wbp-setting-name", title: setting.help }, setting.name);
    this.slider = h("input", { type: "range", min: 0, max: 200, step: 1, "aria-label": `${setting.name}, slider` });
    this.number = h("input", { type: "text", inputmode: "decimal", class: "wb-num", "aria-label": `${setting.name}${setting.unit ? ", " + setting.unit : ""}`, title: setting.help });
    this.outcome = h("span", { class: "wbp-told", "aria-live": "polite" });
    this.why = h("p", { class: "wbp-why", role: "alert", hidden: true });
    this.reach = h("div", { class: "wbp-reach wb-num" });
    this.telling = new Telling();
    this.root = h("div", { class: "wbp-setting" }, h("div", {}, label, this.outcome), h("div", { class: "wbp-slide" }, this.slider, this.reach), this.number, this.why);
    this.slider.addEventListener("input", () => this.preview());
    this.slider.addEventListener("change", () => this.settle());
    this.number.addEventListener("change", () => this.typed());
    this.number.addEventListener("keydown", (event) => event.key === "Enter" && this.number.blur());
    this.scale();
  }

  /** The slider's range, by ratio: a step of it is the same factor. None until auto is known. */
  scale() {
    const { range } = this.setting;
    [this.low, this.high] = range ?? [NaN, NaN];
    this.slider.disabled = this.number.disabled = !range;
    this.reach.replaceChildren(...(range ? [h("span", {}, short(this.low)), h("span", {}, short(this.high))] : [h("span", {}, "auto: known once the model is loaded")]));
  }

  toSlider(value) {
    if (!(value > this.low)) return 0;
    return Math.min(200, (200 * Math.log(value / this.low)) / Math.log(this.high / this.low));
  }

  fromSlider() {
    const value = this.low * (this.high / this.low) ** (this.slider.value / 200);
    return Number(value.toPrecision(2));
  }

  preview() {
    this.moving = true;
    this.number.value = this.fromSlider();
  }

  settle() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.send(this.fromSlider()), SETTLE);
  }

  typed() {
    const value = Number(this.number.value.replace(",", "."));
    if (this.number.value.trim() === "" || !Number.isFinite(value)) {
      this.refuse("give a number");
      return;
    }
    this.slider.value = this.toSlider(value);
    this.send(value);
  }

  send(value) {
    this.moving = false;
    this.sent = value;
    if (value !== this.setting.value || this.waiting) this.commit(value);
  }

  show(setting, command, step) {
    const known = JSON.stringify(this.setting.range) === JSON.stringify(setting.range);
    this.setting = setting;
    if (!known) this.scale();
    this.waiting = Boolean(command && !command.answer);
    const value = this.waiting ? command.values[setting.name] : setting.value;
    if (!this.moving && !this.refused && !this.number.matches(":focus")) this.number.value = value === null ? "auto" : Number(Number(value).toPrecision(6));
    if (!this.moving) this.slider.value = this.toSlider(value);
    if (this.refused && command?.id === this.before) return;
    this.before = command?.id;
    this.tell(this.telling.fresh(command, step, () => this.show(setting, command, step)));
  }

  tell(command) {
    this.refused = false;
    this.why.hidden = true;
    this.outcome.textContent = command ? this.words(command) : this.setting.unit;
    this.outcome.className = `wbp-told ${command ? (this.waiting ? "waiting" : command.answer) : "unit"}`;
  }

  words(command) {
    const value = short(command.values[this.setting.name]);
    if (!command.answer) return `asked ${value} …`;
    if (command.answer === "done") return `done at ${this.step} ${command.step}`;
    return `${command.answer}${command.why ? ": " + command.why : ""}`;
  }

  /** It cannot be set so: said for some seconds, then the field tells again what holds. */
  refuse(why) {
    this.moving = false;
    this.refused = true;
    clearTimeout(this.fading);
    this.fading = setTimeout(() => this.tell(null) ?? this.show(this.setting, undefined, 0), TOLD);
    this.why.textContent = why;
    this.why.hidden = false;
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.fading);
    this.telling.close();
  }
}
