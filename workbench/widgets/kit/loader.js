// Fetches a widget's code from the kernel, so that no saved notebook holds it.

const PATIENCE = 5000; // ms without an answer until the screen says so
const SILENT =
  "The kernel does not answer. It may be busy with another cell, or gone: then run this cell again.";

let came = false; // whether the code is here
let loaded = null; // what comes of it: {widget, css}; the module is one widget's

/** Waits for the code, which comes when a view asks for it, or unasked. */
function initialize({ model }) {
  const early = []; // messages from before the code could hear them
  loaded = new Promise((resolve) => {
    const take = async (message) => {
      if (message.type !== "code") return early.push(message);
      if (came) return; // asked for twice
      came = true;
      const widget = await imported(message.esm);
      model.off("msg:custom", take);
      widget.initialize?.({ model, early });
      resolve({ widget, css: message.css });
    };
    model.on("msg:custom", take);
  });
}

async function imported(esm) {
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  URL.revokeObjectURL(url);
  return widget;
}

async function render({ model, el }) {
  const note = document.createElement("p");
  note.textContent = SILENT;
  const ask = () => came || model.send({ type: "code" });
  const timer = setTimeout(() => {
    el.append(note);
    ask();
  }, PATIENCE);
  ask();
  const { widget, css } = await loaded;
  clearTimeout(timer);
  note.remove();
  const style = document.createElement("style");
  style.textContent = css;
  el.append(style);
  return widget.render({ model, el });
}
export default { initialize, render };
