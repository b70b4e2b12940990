// A kernel that was recorded: it answers a widget's page with what the widget's Python side said
// while the page was made, and what needs a kernel is told to need one. No request leaves the page.

const PASSING = ["view", "seen", "epoch", "rows", "plotly", "id"]; // of a question: not what is asked
const KEY = "workbench page: theme";

/** A question as text, as `recording.py` writes it. */
function keyOf(question) {
  const names = Object.keys(question).filter((name) => !PASSING.includes(name));
  return JSON.stringify(Object.fromEntries(names.sort().map((name) => [name, question[name]])));
}

/** Answers to the questions that have one each; of a step, those of the newest not behind it. */
class Answers {
  constructor({ messages, answers, nobody }) {
    Object.assign(this, { messages, answers, nobody });
  }

  of(question) {
    const known = this.answers[keyOf(question)] ?? (question.at === undefined ? undefined : this.before(question));
    if (known !== undefined) return this.messages[known];
    return { type: "fault", key: question.key ?? question.command, fault: this.nobody };
  }

  /** The last recorded answer to the same question at an earlier number; else the first. */
  before(question) {
    const same = Object.keys(this.answers)
      .map((text) => ({ ...JSON.parse(text), text }))
      .filter(({ type, at }) => type === question.type && at !== undefined)
      .sort((a, b) => a.at - b.at);
    return this.answers[(same.findLast(({ at }) => at <= question.at) ?? same[0])?.text];
  }
}

/** A session that was gone through in every way: where it stands is the way that was taken. */
class Session extends Answers {
  constructor(kernel) {
    super(kernel);
    this.nodes = kernel.nodes;
    this.way = [0];
    this.undone = [];
  }

  get node() {
    return this.nodes[this.way.at(-1)];
  }

  of(question) {
    if (question.type === "act") return this.act(question);
    const state = this.messages[this.node.state];
    if (question.type === "here") return state;
    if (question.type === "reveal" && this.node.reveal !== undefined) return this.messages[this.node.reveal];
    const answer = super.of(question);
    if (question.type !== "ready") return answer.type === "fault" ? { type: "fault", ...answer.fault } : answer;
    return { ...answer, ...state, items: answer.items };
  }

  act({ id, action, choice }) {
    let changed = true;
    if (action === "undo") {
      if ((changed = this.way.length > 1)) this.undone.push(this.way.pop());
    } else if (action === "redo") {
      if ((changed = this.undone.length > 0)) this.way.push(this.undone.pop());
    } else {
      const next = this.node.next[action === "choose" ? choice : action];
      if (next === undefined) return { ...this.messages[this.node.state], ack: { id, ok: false, again: false, ...this.nobody } };
      this.way.push(next);
      this.undone = [];
    }
    return { ...this.messages[this.node.state], ack: { id, ok: true, changed } };
  }
}

/** What a widget's view sees of its model, as anywidget hands it out. */
class RecordedModel {
  constructor({ state, kernel }) {
    this.state = state;
    this.kernel = new (kernel.nodes ? Session : Answers)(kernel);
    this.heard = {}; // event -> who listens
    for (const name of ["get", "set", "save_changes", "on", "off", "send"]) this[name] = this[name].bind(this);
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    this.state[name] = value;
    this.tell(`change:${name}`);
  }

  save_changes() {}

  on(events, listener) {
    for (const event of events.split(" ")) (this.heard[event] ??= []).push(listener);
  }

  off(events, listener) {
    for (const event of events.split(" ")) this.heard[event] = (this.heard[event] ?? []).filter((one) => one !== listener);
  }

  tell(event, ...what) {
    for (const listener of [...(this.heard[event] ?? [])]) listener(...what);
  }

  send(question) {
    const answer = structuredClone(this.kernel.of(question));
    if (question.view) answer.to = question.view;
    setTimeout(() => this.tell("msg:custom", answer, []));
  }
}

/** What a script element holds, unpacked: base 64 of gzip. */
async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const recordings = unpacked("wb-recordings").then(JSON.parse);

/** Draw a widget where the page has its place. */
globalThis.workbenchShow = async (name, View) => {
  const place = document.getElementById(name);
  try {
    const recording = (await recordings)[name];
    new View(new RecordedModel(recording), place);
    place.querySelector(":scope > .wb-loading")?.remove();
  } catch (error) {
    place.textContent = `This part of the page cannot be shown: ${error.message}. It needs a browser of 2023 or newer.`;
    throw error;
  }
};

/** Plotly, where the page has it: as a script of the page's own, after everything else is drawn. */
async function plotly() {
  await recordings;
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  const script = document.createElement("script");
  script.textContent = await unpacked("wb-plotly");
  document.head.append(script);
  return globalThis.Plotly;
}
if (document.getElementById("wb-plotly")) globalThis.__workbenchPlotly = plotly();

/** Light or dark as the system says, until a person says otherwise. */
function dress(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const set = (dark) => {
    root.classList.toggle("dark", dark);
    button.textContent = dark ? "Light" : "Dark";
  };
  const chosen = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // a browser may refuse to remember
    }
  };
  system.addEventListener("change", () => chosen() === null && set(system.matches));
  button.addEventListener("click", () => {
    set(!root.classList.contains("dark"));
    try {
      localStorage.setItem(KEY, root.classList.contains("dark") ? "dark" : "light");
    } catch {
      // then it holds until the page is closed
    }
  });
  set(chosen() === null ? system.matches : chosen() === "dark");
}
dress(document.getElementById("wb-theme"));
