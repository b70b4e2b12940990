// Fetches a widget's code from the kernel, so that no saved notebook holds it.

const PATIENCE = 5000; // ms without an answer until the screen says so
const SILENT =
  "The kernel does not answer. It may be busy with another cell, or gone: then run this cell again.";

let came = false; // whether the code is here
let loaded = null; // what comes of it: {View, css}; the module is one widget's

/** Waits for the code, which comes when a view asks for it, or unasked. */
function initialize({ model }) {
  const early = []; // messages from before the code could hear them
  loaded = new Promise((resolve) => {
    const take = async (message) => {
      if (message.type !== "code") return early.push(message);
      if (came) return; // asked for twice
      came = true;
      const View = await imported(message.esm);
      model.off("msg:custom", take);
      View.begin?.(model, early);
      resolve({ View, css: message.css });
    };
    model.on("msg:custom", take);
  });
}

/** The class that a widget's module exports: one is made for each view, and closed with it. */
async function imported(esm) {
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: View } = await import(url);
  URL.revokeObjectURL(url);
  return View;
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
  const { View, css } = await loaded;
  clearTimeout(timer);
  note.remove();
  const style = document.createElement("style");
  style.textContent = css;
  el.append(style);
  const view = new View(model, el);
  return () => view.close();
}
export default { initialize, render };
