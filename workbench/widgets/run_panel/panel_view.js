// The run panel: hears about a run folder from Python, draws it, and sends what a person asks.
import { cutOff, guardKeys, h, keycap, newId } from "../kit/dom.js";
import { arrive } from "../kit/safe_text.js";
import { brief, packedPlotly, pagePlotly, takePlotly } from "../kit/plot.js";
import { Buttons, LiveSettings } from "./controls.js";
import { Curves, remembered } from "./curves.js";
import { SampleTable } from "./samples.js";
import { Rise } from "./rise.js";
import { Alarms } from "./alarms.js";

const POLL = 1000; // ms between questions while the run is live
const REST = 5000; // ms between questions once it has ended
const SILENCE = 12_000; // ms without a word before the panel says that it stands still
const BELOW = 30; // px for the line that counts the answers below
const WORTH = 56; // px of an answer that are worth showing, faded out
const MOST = 2000; // rows added before the curves are asked for again, thinned
const KINDS = { ppo: "PPO", dpo: "DPO", online_dpo: "Online DPO", reward: "Reward model", sft: "SFT" };
const STATES = {
  starting: ["○ starting", "blue"],
  running: ["● running", "green"],
  paused: ["Ⅱ paused", "orange"],
  stopped: ["■ stopped", ""],
  finished: ["✓ finished", "green"],
  failed: ["✕ failed", "red"],
};
/** Seconds in words: "3 min 20 s". */
function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

export class Panel {
  /** Take Plotly where it comes unasked, before there is a view; `early`: what came before this code. */
  static begin(model, early) {
    const take = ({ type, packed }) => type === "plotly" && takePlotly(packed);
    early.forEach(take);
    model.on("msg:custom", take);
  }

  constructor(model, el) {
    this.model = model;
    this.view = newId();
    this.epoch = -1;
    this.rows = 0;
    this.added = 0;
    this.parts = {};
    this.digests = {};
    this.serials = {};
    this.heard = Date.now();
    this.gone = new AbortController();
    this.build();
    el.append(this.root);
    this.onMessage = (message) => this.take(message);
    model.on("msg:custom", this.onMessage);
    this.onShown = () => !document.hidden && ((this.heard = Date.now()), this.poll());
    document.addEventListener("visibilitychange", this.onShown);
    this.clock = setInterval(() => this.tick(), POLL);
    this.loadPlotly();
    this.ready();
  }

  close() {
    this.closed = true;
    this.gone.abort();
    clearInterval(this.clock);
    this.plots.close();
    this.fitting.disconnect();
    document.removeEventListener("visibilitychange", this.onShown);
    this.model.off("msg:custom", this.onMessage);
    this.buttons.close();
    this.settings.close();
  }

  // --- asking and hearing ---------------------------------------------------------------------

  send(message) {
    this.model.send({ ...message, view: this.view });
  }

  ready() {
    this.waiting = this.askedAll = Date.now();
    this.send({ type: "ready", plotly: this.lacksPlotly ?? false });
    this.lacksPlotly = false;
  }

  /** Ask for everything again, ever more seldom: a blocked kernel answers all questions at last. */
  readyAgain(now) {
    if (now - this.askedAll < (this.patience ??= REST)) return;
    this.patience *= 2;
    this.ready();
  }

  poll() {
    if (this.epoch < 0) return;
    this.waiting = Date.now();
    this.send({ type: "poll", epoch: this.epoch, rows: this.rows, seen: this.digests });
  }

  tick() {
    const now = Date.now();
    const gone = cutOff(this.root);
    this.still.media = this.epoch < 0 && now - this.heard >= REST ? "not all" : ""; // nobody answers: the picture shows
    this.standstill.hidden = document.hidden || !(gone || now - this.heard >= SILENCE);
    if (document.hidden || gone) return;
    const patience = this.parts.status?.live === false ? REST : POLL;
    if (this.epoch < 0) return this.readyAgain(now);
    if (this.waiting && now - this.waiting < 2 * REST) return;
    if (now - (this.polled ?? 0) < patience - POLL / 2) return;
    this.polled = now;
    this.poll();
  }

  take(message) {
    const mine = message.to === this.view;
    if (message.type === "plotly") return;
    this.heard = Date.now();
    this.standstill.hidden = true;
    if (mine) this.waiting = null;
    if (message.type === "all" && (mine || (!message.to && this.epoch < 0))) this.takeAll(message);
    if (message.type === "new") this.takeNew(message);
    if (message.type === "samples" && mine) this.samples.take(message.samples, { newest: false });
    if (message.type === "why") this.samples.takeWhy(message);
    if (message.type === "labelled" && mine) this.samples.labelled(message);
    if (message.type === "fault" && (mine || !message.to)) this.takeFault(message);
  }

  takeAll(message) {
    this.epoch = message.epoch;
    this.rows = message.rows;
    this.added = 0;
    this.header(message.header);
    this.plots.begin(message.curves);
    this.takeParts(message);
  }

  takeNew(message) {
    if (this.epoch < 0) return;
    if (message.epoch !== undefined && message.epoch !== this.epoch) return this.ready();
    this.takeParts(message);
    const { metrics } = message;
    if (!metrics) return;
    if (metrics.from > this.rows) return this.poll(); // rows were missed: ask for them
    const first = this.rows - metrics.from;
    const count = Math.max(0, metrics.steps.length - first);
    if (!count) return;
    this.rows += count;
    this.added += count;
    if (this.added > MOST) this.ready();
    else this.plots.extend(metrics, first);
  }

  /** Parts that are newer than what is shown; answers may cross on their way. */
  takeParts({ parts, digests, serial }) {
    for (const [name, part] of Object.entries(parts)) {
      if ((this.serials[name] ?? -1) > serial) continue;
      this.serials[name] = serial;
      this.digests[name] = digests[name];
      this.parts[name] = part;
    }
    this.show(new Set(Object.keys(parts)));
  }

  takeFault({ fault, key }) {
    const text = [fault.what, fault.where, fault.fix].filter(Boolean).join(" · ");
    const field = key && this.settings.fields.get(key);
    if (field) return field.refuse([fault.what, fault.fix].filter(Boolean).join(": "));
    this.complaint.firstChild.textContent = text;
    this.complaint.hidden = false;
  }

  ask(command, values = {}) {
    this.complaint.hidden = true;
    this.send({ type: "ask", command, values, key: Object.keys(values)[0] ?? command });
  }

  async loadPlotly() {
    const ask = () => {
      // with the first question in one message: no blocked kernel comes between the two
      if (this.askedAll) this.send({ type: "plotly", key: "plotly" });
      else this.lacksPlotly = true;
    };
    try {
      this.plots.start(await pagePlotly(() => packedPlotly(this.model, ask, this.gone.signal)));
    } catch (error) {
      if (!this.closed) this.takeFault({ fault: { what: `The curves cannot be drawn: ${error.message}` } });
    }
  }

  // --- the page -------------------------------------------------------------------------------

  build() {
    this.name = h("span", { class: "wbp-name" }, "…");
    this.base = h("span", { class: "wb-muted wbp-model" });
    this.state = h("span", { class: "wbp-state", role: "status" });
    this.done = h("div", { class: "wbp-done" });
    this.bar = h("div", { class: "wbp-progress", role: "progressbar", "aria-label": "progress" }, this.done);
    this.how = h("span", { class: "wbp-how wb-num" });
    this.phases = h("span", { class: "wbp-phases wb-muted wb-num" });
    this.buttons = new Buttons((command) => this.ask(command));
    this.lead = h("strong");
    this.rest = h("span");
    this.basis = h("span", { class: "wbp-basis" });
    this.advice = h("p", { class: "wbp-advice", hidden: true });
    this.verdict = h("p", { class: "wbp-verdict", role: "status" }, this.lead, this.rest, this.basis);
    const top = h("header", { class: "wbp-head" }, h("div", { class: "wbp-title" }, this.name, this.base, this.state, this.how, this.buttons.root), this.verdict, this.advice, this.bar);

    this.standstill = h("div", { class: "wb-banner warn", role: "alert", hidden: true }, h("p"));
    this.complaint = h("div", { class: "wb-banner error", role: "alert", hidden: true }, h("p"), h("button", { type: "button", class: "wb-link", onclick: () => (this.complaint.hidden = true) }, "Dismiss"));
    this.failure = h("div", { class: "wb-banner error wbp-failure", role: "alert", hidden: true });

    this.settings = new LiveSettings((command, values) => this.ask(command, values));
    this.alarms = new Alarms();
    this.plots = new Curves((step) => this.samples.goToStep(step), true);
    this.samples = new SampleTable(
      (which) => this.send({ type: "samples", ...which }),
      "step",
      (index, row, first) => this.send({ type: "label", key: "label", index, row, first }),
      (step) => this.plots.pin(step),
      (index, row) => this.send({ type: "why", key: "why", index, row }),
    );
    this.none = h("p", { class: "wbp-none wb-muted" });
    this.rise = new Rise();
    const left = h("div", { class: "wbp-left" }, this.plots.large, this.plots.vitals.root);
    this.inner = h("div", { class: "wbp-inner" }, this.samples.root, this.none);
    this.below = h("button", { type: "button", class: "wb-link wbp-below", hidden: true, onclick: () => this.cockpit.classList.toggle("tall") && this.fit() });
    this.right = h("div", { class: "wbp-right" }, this.inner, this.below);
    this.cockpit = h("div", { class: "wbp-cockpit" }, left, this.right);
    this.fitting = new ResizeObserver(() => this.fit());
    for (const node of [this.right, this.samples.root]) this.fitting.observe(node);

    this.events = h("ol", { class: "wbp-events" });
    this.news = h("section", { class: "wbp-news", "aria-label": "Events", hidden: true }, h("div", { class: "wbp-bar" }, h("span", { class: "wb-label" }, "Warnings and events")), this.events);
    this.opener = h("button", { type: "button", class: "wbp-opener", onclick: () => this.openDrawer() });
    this.foot = h("footer", { class: "wbp-foot" }, this.phases, this.opener);
    this.drawer = h("div", { class: "wbp-drawer" }, this.settings.root, this.plots.root, this.news);
    const still = `.wb-still[data-panel="${this.model.get("still")}"]`;
    this.still = h("style", {}, `${still}, .jp-OutputArea-child:has(${still}) { display: none; }`); // while this view lives
    this.root = h("section", { class: "wb wbp", "aria-label": "Run panel" }, this.still, top, this.standstill, this.complaint, this.failure, this.alarms.root, this.rise.root, this.cockpit, this.alarms.past, this.foot, this.drawer);
    this.openDrawer(remembered());
    guardKeys(this.root, (key) => this.press(key));
  }

  /** Settings, the other curves and the events; the browser remembers whether they were open. */
  openDrawer(open = this.drawer.hidden) {
    this.drawer.hidden = !open;
    if (open !== remembered()) remembered(open);
    this.opener.setAttribute("aria-expanded", String(open));
    const small = this.plots.charts.filter((chart) => !chart.large).length;
    const what = this.parts.status?.live === false ? `${small} more curves and events` : `Settings and ${small ? `${small} more curves` : "events"}`;
    this.opener.replaceChildren(open ? `Hide ${what[0].toLowerCase()}${what.slice(1)}` : what, keycap("m"));
    this.plots.redraw();
  }

  /** Beside the curves whole answers are seen, and the next one fades out; a click shows all of them. */
  fit() {
    const rows = [...this.inner.querySelectorAll(".wbp-rows > li")].filter((row) => row.offsetParent);
    const beside = getComputedStyle(this.right).position === "relative";
    const tall = beside && this.cockpit.classList.contains("tall");
    this.inner.style.height = "";
    const room = this.right.clientHeight;
    const ends = rows.map((row) => row.offsetTop + row.offsetHeight);
    const whole = ends.filter((end) => end <= room - BELOW).length;
    const cut = beside && !tall && whole > 0 && ends.at(-1) > room;
    this.below.hidden = !cut && !tall;
    this.below.textContent = tall ? "Fewer, beside the curves" : `${rows.length - whole} more below`;
    this.below.setAttribute("aria-expanded", String(tall));
    const fades = cut && room - BELOW - ends[whole - 1] >= WORTH;
    this.inner.classList.toggle("fading", fades);
    if (!cut) return;
    const end = fades ? room - BELOW : ends[whole - 1];
    this.inner.style.height = `${end}px`;
    this.below.style.top = `${end}px`;
  }

  press(key) {
    const acts = {
      p: () => this.buttons.toggle(),
      s: () => this.parts.status?.live && this.ask("save"),
      x: () => this.buttons.confirmStop(),
      l: () => this.plots.toggleLog(),
      m: () => this.openDrawer(),
      d: () => this.samples.toggleDiff(),
      r: () => this.samples.toggleStart(),
      t: () => this.samples.nextHeat(),
      n: () => this.samples.goNewest(),
      q: () => this.samples.toLabeller(),
      w: () => this.samples.why(),
      arrowup: () => this.samples.markRow(-1),
      arrowdown: () => this.samples.markRow(1),
      arrowleft: () => this.samples.go(this.samples.at() - 1),
      arrowright: () => this.samples.go(this.samples.at() + 1),
    };
    const act = acts[key.toLowerCase()];
    act?.();
    return Boolean(act);
  }

  header({ name, kind, model, address, paid, explains }) {
    this.explains = explains;
    this.name.textContent = name;
    this.address = address;
    this.kind = kind;
    this.base.textContent = `${KINDS[kind] ?? kind} on ${arrive(model)}${paid ? `, paid by ${arrive(paid)}` : ""}`;
    this.step = kind === "ppo" ? "update" : "step";
    for (const part of [this.samples, this.buttons, this.settings, this.alarms, this.rise]) part.step = this.step;
    this.plots.name(this.step);
    this.root.setAttribute("aria-label", `Run panel of ${name}`);
    this.standstill.firstChild.textContent =
      `No answer from the kernel: it is busy, was restarted or is gone, and this view stands still. ` +
      `The run goes on by itself; wb.open_run("${address}") shows it again.`;
  }

  /** Draw the parts in `fresh` (names) anew. */
  show(fresh) {
    const { status, verdict, guides, settings, commands, events, alarms, changes, charts, samples, rise } = this.parts;
    if (fresh.has("status")) this.showStatus(status);
    if (fresh.has("verdict")) this.showVerdict(verdict);
    if (fresh.has("guides") || fresh.has("status")) this.plots.showGuides(guides, status.live ? status.total : null);
    if (fresh.has("status") || fresh.has("commands")) this.buttons.show(status, commands);
    if (fresh.has("status") || fresh.has("commands") || fresh.has("settings")) this.settings.show(settings, commands, status);
    if (fresh.has("events")) this.showEvents(events);
    if (fresh.has("alarms") || fresh.has("status") || fresh.has("verdict")) this.alarms.show(alarms, status.live, verdict.lead);
    if (fresh.has("alarms")) this.plots.showAlarms(alarms);
    if (fresh.has("charts")) this.plots.showCharts(charts);
    if (fresh.has("charts") || fresh.has("status")) this.openDrawer(!this.drawer.hidden);
    if (fresh.has("rise")) this.rise.show(rise, this.address);
    if (fresh.has("changes")) this.plots.showChanges(changes);
    if (fresh.has("status")) this.samples.offerReasons(this.explains && !status.live);
    if (fresh.has("samples")) this.samples.take(samples, { newest: true });
    if (fresh.has("samples") || fresh.has("status")) this.showNone(samples, status);
  }

  showVerdict({ lead, rest, advice, basis, tone }) {
    this.lead.textContent = arrive(lead);
    this.rest.textContent = arrive(rest);
    this.basis.textContent = basis ? ` ${basis}` : "";
    this.advice.textContent = arrive(advice);
    this.advice.hidden = !advice || tone === "bad"; // the alarms below say what to do
    this.verdict.dataset.tone = this.advice.dataset.tone = tone;
  }

  /** What will stand where there are no answers yet; a run without any has its curves beside each other. */
  showNone(samples, { live, step }) {
    const empty = !samples.count;
    this.none.hidden = !empty;
    const never = empty && (!live || step > 0);
    this.none.classList.toggle("wbp-empty", !never);
    this.cockpit.classList.toggle("alone", never && (this.kind === "sft" || !live));
    this.none.textContent = this.kind === "reward" ? "Eight held-out pairs will stand here, with their scores, from the first evaluation on." : `The answers to the watched prompts will stand here, before and now, from the first ${this.step} on.`;
  }

  showStatus(status) {
    const [words, colour] = STATES[status.state] ?? [status.state, ""];
    this.state.textContent = words;
    this.state.className = `wbp-state ${colour}`;
    const { step, total, left, seconds } = status;
    const share = total ? Math.min(1, step / total) : 0;
    this.done.style.width = `${100 * share}%`;
    this.bar.setAttribute("aria-valuenow", Math.round(100 * share));
    const facts = total || step ? [`${this.step} ${step.toLocaleString("en")}${total ? " of " + total.toLocaleString("en") : ""}`] : [];
    if (status.live && left !== null) facts.push(status.state === "paused" ? `${duration(left)} to go` : `about ${duration(left)} left`);
    if (!status.live && seconds) facts.push(`took ${duration(seconds)}`);
    if (status.silent) facts.push(`no sign of life for ${duration(status.silent)}`);
    this.how.textContent = facts.join(" · ");
    this.showPhases(status.phases ?? {}, status, status.estimate ?? "");
    this.showFailure(status);
    this.plots.toCome = status.state === "starting" ? `The first point comes with the first ${this.step}.` : status.live ? `The first ${this.step} is under way; the first point comes at its end.` : "This run ended before its first step.";
  }

  /** Where the time and the memory go: "1.9 s an update: generate 0.9, optimise 0.8 · watch 3.1 s every 20 updates · the process has held 1.4 GB at most". */
  showPhases({ step, ...parts }, { memory, memory_of: whose, now, seldom }, estimate) {
    const counts = ([, seconds]) => seconds >= 0.01 * (step ?? 0); // the others say nothing
    const facts = Object.entries(parts).filter(counts).map(([name, seconds]) => `${name} ${brief(seconds)}`);
    const words = step ? `${brief(step)} s ${this.step === "update" ? "an" : "a"} ${this.step}${facts.length ? ": " + facts.join(", ") : ""}` : estimate;
    const others = Object.entries(seldom ?? {}).map(([name, [seconds, every]]) => `${name} ${brief(seconds)} s ${every ? `every ${every} ${this.step}s` : "once"}`);
    this.phases.textContent = [now, words, ...others, memory ? `the ${whose} has held ${brief(memory)} GB at most` : ""].filter(Boolean).join(" · ");
  }

  showFailure(status) {
    this.failure.hidden = status.state !== "failed";
    if (this.failure.hidden) return;
    const from = status.checkpoint === null ? "there is no checkpoint, so it starts over" : `it goes on from the checkpoint at ${this.step} ${status.checkpoint}`;
    const resume = h("p", {}, "Mend the cause, then press Resume, or ", h("code", {}, `wb.open_run("${this.address}").resume()`), `: ${from}.`);
    const log = h("pre", { class: "wbp-log", tabindex: 0, "aria-label": "end of log.txt" }, arrive(status.log.join("\n")) || "(log.txt is empty)");
    const words = h("div", {}, h("p", {}, h("strong", {}, `The run failed at ${this.step} ${status.step}. `), arrive(status.error)), resume, h("details", {}, h("summary", {}, "The end of log.txt"), log));
    words.querySelector("details").open = this.logOpen ?? true;
    words.querySelector("details").addEventListener("toggle", (event) => (this.logOpen = event.target.open));
    this.failure.replaceChildren(words);
  }

  showEvents(events) {
    const colours = { warning: "orange", alarm: "red", refused: "orange", dropped: "orange", finished: "green" };
    this.news.hidden = !events.length;
    const rows = events.toReversed().map((event) =>
      h("li", {}, h("span", { class: "wb-num wb-muted wbp-at" }, `${this.step} ${event.step}`), h("span", { class: `wb-chip ${colours[event.kind] ?? ""}` }, event.kind), h("span", { class: "wbp-event" }, arrive(event.text))),
    );
    this.events.replaceChildren(...rows);
  }
}
