// Fetches a widget's code from the kernel, so that a saved notebook does not hold it.

const PATIENCE = 5000; // ms without an answer until the screen says so
const SILENT =
  "The kernel does not answer. It may be busy with another cell, or gone: then run this cell again.";

/** The widget's module and style, as Python sends them. */
function fetched(model, el) {
  return new Promise((resolve) => {
    const note = document.createElement("p");
    note.textContent = SILENT;
    const timer = setTimeout(() => el.append(note), PATIENCE);
    const take = (message) => {
      if (message.type !== "code") return;
      model.off("msg:custom", take);
      clearTimeout(timer);
      note.remove();
      resolve(message);
    };
    model.on("msg:custom", take);
    model.send({ type: "code" });
  });
}

async function render({ model, el }) {
  const { esm, css } = await fetched(model, el);
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  URL.revokeObjectURL(url);
  const style = document.createElement("style");
  style.textContent = css;
  el.append(style);
  return widget.render({ model, el });
}
export default { render };
