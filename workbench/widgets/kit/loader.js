// Fetches a widget's code from the kernel, so that no saved notebook holds it, and shows the view
// once the kernel has answered it: until then nothing but what is waited for.

const AGAIN = [1000, 2000, 4000]; // ms from one asking to the next; then the last again and again
const SOON = 800; // ms of waiting that nobody is told of
const LONG = 20_000; // ms of waiting after which the kernel may be gone

// Each widget's code by its own mark: {came: whether it is here, loaded: {View, css}, as a promise}.
// Most hosts load this module once a widget; marimo loads it once a page.
const codes = new Map();

/** Waits for the code, which comes when a view asks for it, or unasked. */
function initialize({ model }) {
  const early = []; // messages from before the code could hear them
  const code = { came: false };
  codes.set(model.get("mark"), code);
  code.loaded = new Promise((resolve) => {
    const take = async (message) => {
      if (message.type !== "code") return early.push(message);
      if (code.came) return; // asked for twice
      code.came = true;
      const View = await imported(message.esm);
      model.off("msg:custom", take);
      View.begin?.(model, early);
      resolve({ View, css: message.css });
    };
    model.on("msg:custom", take);
  });
  hearAlways(model);
}

/**
 * Hear what the kernel says even where this page was slow. anywidget lets every message wait for a
 * promise, which it breaks where the widget's module is not there within 2 s: after that the model
 * would be deaf for good. Here messages come by the way that all other widgets' do.
 */
function hearAlways(model) {
  const whole = modelBehind(model);
  let kind = whole && Object.getPrototypeOf(whole);
  while (kind && !Object.hasOwn(kind, "_handle_comm_msg")) kind = Object.getPrototypeOf(kind);
  const hear = kind && Object.getPrototypeOf(kind)._handle_comm_msg;
  if (hear) whole.comm?.on_msg((message) => hear.call(whole, message));
}

/** The model behind what anywidget hands out, which an event of its own names; null elsewhere. */
function modelBehind(model) {
  const name = "wb_asked";
  let whole = null;
  const take = (changed) => (whole = changed);
  model.on(`change:${name}`, take);
  model.set(name, true);
  model.off(`change:${name}`, take);
  for (const kept of [whole?.attributes, whole?._buffered_state_diff]) if (kept) delete kept[name];
  return whole?._handle_comm_msg ? whole : null;
}

/** The class that a widget's module exports: one is made for each view, and closed with it. */
async function imported(esm) {
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: View } = await import(url);
  URL.revokeObjectURL(url);
  return View;
}

/** Asks the kernel again and again, and says in `el` what it waits for, until it is answered. */
class Question {
  constructor(el, wanted, ask) {
    Object.assign(this, { wanted, ask, tries: 0, begun: performance.now() });
    this.note = document.createElement("p");
    this.note.setAttribute("role", "status");
    this.note.style.cssText = "margin: 6px 2px; font: 13px/1.5 var(--jp-ui-font-family, system-ui)";
    el.append(this.note);
    this.asked = this.begun;
    this.clock = setInterval(() => this.tick(), 200);
  }

  tick() {
    const now = performance.now();
    if (now - this.asked > AGAIN[Math.min(this.tries, AGAIN.length - 1)]) {
      this.tries += 1;
      this.asked = now;
      this.ask();
    }
    if (now - this.begun < SOON) return;
    const seconds = `${Math.round((now - this.begun) / 1000)} s`;
    const long = now - this.begun > LONG;
    this.note.textContent =
      `Waiting for the kernel to send ${this.wanted}: ${seconds}. ` +
      (long
        ? "It may be busy with another cell; if it was restarted or is gone, run this cell again."
        : "It comes up by itself.");
  }

  end() {
    clearInterval(this.clock);
    this.note.remove();
  }
}

async function render({ model, el }) {
  const code = codes.get(model.get("mark"));
  const ask = () => code.came || model.send({ type: "code" });
  const question = new Question(el, "this view", ask);
  ask();
  const { View, css } = await code.loaded;
  question.end();
  const style = document.createElement("style");
  style.textContent = css;
  el.append(style);
  return shown(View, model, el);
}

/** Make the view, and show it from the kernel's answer to its first question on. */
function shown(View, model, el) {
  const place = document.createElement("div");
  const asked = { question: null, ready: null };
  const heard = ({ type, to }) => {
    if (type === "code" || type === "plotly" || (to && to !== asked.ready?.view)) return;
    model.off("msg:custom", heard);
    asked.question?.end();
    place.style.display = "";
  };
  model.on("msg:custom", heard); // before the view's own, which may measure what it draws
  el.append(place);
  const send = (content, ...rest) => {
    if (content.type === "ready") asked.ready ??= content;
    return model.send(content, ...rest);
  };
  const view = new View({ ...model, send }, place);
  if (asked.ready) {
    place.style.display = "none";
    asked.question = new Question(el, "what it shows", () => model.send(asked.ready));
  }
  return () => {
    model.off("msg:custom", heard);
    asked.question?.end();
    view.close();
  };
}
export default { initialize, render };
