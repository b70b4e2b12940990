// Elements, numbers, ids and keys: what every widget is made of.

/** An element with properties and children; strings become text nodes. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A number with its thousands apart. */
export function grouped(n) {
  return n.toLocaleString("en");
}

/** A number as a person reads it: about three figures. */
export function brief(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace("e+", "e").replace("-", "−").replace("e-", "e−");
  if (size >= 1000) return Math.round(value).toLocaleString("en").replace("-", "−");
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toFixed(digits).replace("-", "−");
}

/** A new id for an event; `crypto.randomUUID` is missing on plain http pages. */
export function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID();
  const bytes = new Uint8Array(16);
  if (globalThis.crypto?.getRandomValues) crypto.getRandomValues(bytes);
  else for (let i = 0; i < 16; i++) bytes[i] = Math.floor(Math.random() * 256);
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const TYPED = "input, textarea, select, [contenteditable=true]";

/**
 * Keep plain keys inside `root` and hand them to `press(key, event)`.
 * Both halves are needed: the attribute works only on the focused element itself, and stopping
 * the event keeps JupyterLab from seeing keys of focused buttons ("d d" deletes a cell).
 * Ctrl, Alt and Meta combinations stay the host's; Escape gives the keyboard back to it.
 */
export function guardKeys(root, press) {
  root.tabIndex = 0;
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  root.addEventListener("keydown", (event) => {
    if (event.target.matches(TYPED)) {
      if (!(event.ctrlKey || event.metaKey) || event.key === "Enter") event.stopPropagation();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Tab") return;
    event.stopPropagation();
    const onButton = event.target.closest("button, a, [role=button]");
    if (onButton && (event.key === "Enter" || event.key === " ")) return;
    if (press(event.key, event)) event.preventDefault();
    else if (event.key === "Escape") release(root);
  });
}

/** Give the keyboard back to the notebook. */
export function release(root) {
  const cell = root.closest(".jp-Cell");
  if (cell) cell.focus();
  else document.activeElement?.blur?.();
}

/** A cap with what is on the key. */
export function keycap(key) {
  const names = {
    ArrowLeft: "←",
    ArrowRight: "→",
    ArrowUp: "↑",
    ArrowDown: "↓",
    " ": "Space",
    Escape: "Esc",
    Backspace: "Bksp",
  };
  return h("kbd", {}, names[key] ?? (key.length === 1 ? key.toUpperCase() : key));
}

/** Whether JupyterLab knows that the kernel which held this widget was restarted or is gone. */
export function cutOff(root) {
  return Boolean(root.closest(".jupyter-widgets-disconnected"));
}
