// The loss explorer: -log sigma(r1 - r2) for two sliders, beside the rows that were kept.
import { guardKeys, h, keycap } from "../kit/dom.js";
import { arrive, textBlock } from "../kit/safe_text.js";

const LN10 = Math.log(10);
const LOW = -10;
const HIGH = 10;
const REACH = { near: 3, usual: 10, far: 20 };
const SVG = "http://www.w3.org/2000/svg";

/** The same steps as `comparison_loss` in explorer.py; exact for any size of the difference. */
function comparisonLoss(r1, r2) {
  const d = r1 - r2;
  const tail = Math.exp(-Math.abs(d));
  const sigma = d >= 0 ? 1 / (1 + tail) : tail / (1 + tail);
  const loss = Math.log1p(tail) + Math.max(-d, 0);
  return { r1, r2, d, sigma, loss, loss10: loss / LN10 };
}

/** Numbers as a person reads them: 4 figures, never a bare 0 for something small. */
function figure(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-4) return value.toExponential(2).replace("e-", " · 10^-");
  if (size < 0.1) return String(Number(value.toPrecision(2)));
  return value.toFixed(size < 1 ? 4 : 3);
}

/** A number; a power of ten is set as a superscript. */
function shown(value) {
  const [mantissa, power] = figure(value).replace("-", "−").split(" · 10^");
  return power ? h("span", {}, mantissa + " · 10", h("sup", {}, power.replace("-", "−"))) : h("span", {}, mantissa);
}

const signed = (value) => value.toFixed(1).replace("-", "−");

function svg(tag, attributes = {}, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

/** The curve over the difference; `draw` moves the point, the kept rows' rings and the run's pairs. */
function lossCurve(choose) {
  const box = { left: 44, right: 14, top: 14, bottom: 40, width: 460, height: 380 };
  let reach = 0; // the difference at the edge, and the loss at the top
  const x = (d) => box.left + ((d + reach) / (2 * reach)) * (box.width - box.left - box.right);
  const y = (loss) => box.height - box.bottom - (loss / reach) * (box.height - box.top - box.bottom);
  const root = svg("svg", {
    viewBox: `0 0 ${box.width} ${box.height}`,
    class: "wbx-curve",
    role: "img",
    "aria-label": "loss over the difference of the scores: near 0 on the right, a straight rise on the left",
  });
  const frame = svg("g");
  const marks = svg("g");
  const pairs = svg("g");
  const drop = svg("line", { class: "drop" });
  const ten = svg("circle", { r: 4.5, class: "ten-point" });
  const natural = svg("circle", { r: 6, class: "point" });
  root.append(frame, marks, pairs, ten, natural);

  function rule(to) {
    reach = to;
    const ticks = [-1, -0.5, 0, 0.5, 1].map((share) => share * reach);
    const lines = ticks.flatMap((d) => [
      svg("line", { x1: x(d), x2: x(d), y1: y(0), y2: y(reach), class: d ? "grid" : "zero" }),
      svg("text", { x: x(d), y: y(0) + 17, "text-anchor": "middle" }, String(Number(d.toPrecision(3))).replace("-", "−")),
    ]);
    const losses = [0, 0.25, 0.5, 0.75, 1].map((share) => share * reach);
    lines.push(
      ...losses.flatMap((loss) => [
        svg("line", { x1: x(-reach), x2: x(reach), y1: y(loss), y2: y(loss), class: loss ? "grid" : "axis" }),
        svg("text", { x: x(-reach) - 8, y: y(loss) + 4, "text-anchor": "end" }, String(Number(loss.toPrecision(3)))),
      ]),
      svg("text", { x: (x(-reach) + x(reach)) / 2, y: box.height - 5, "text-anchor": "middle", class: "name" }, "r₁ − r₂"),
    );
    const path = (key) =>
      Array.from({ length: 161 }, (_, i) => (i / 80 - 1) * reach)
        .map((d, i) => `${i ? "L" : "M"}${x(d).toFixed(1)} ${y(comparisonLoss(d, 0)[key]).toFixed(1)}`)
        .join("");
    lines.push(svg("path", { d: path("loss10"), class: "ten" }), svg("path", { d: path("loss"), class: "natural" }));
    lines.push(drop); // below the names, which keep it off their letters
    lines.push(svg("text", { x: x(-0.68 * reach), y: y(0.73 * reach), class: "natural-name" }, "−ln σ: training"));
    lines.push(svg("text", { x: x(-0.97 * reach), y: y(0.055 * reach), class: "ten-name" }, "−log₁₀ σ: the lecture"));
    lines.push(svg("text", { x: x(0.97 * reach), y: y(0.055 * reach), "text-anchor": "end" }, "right order: nearly free"));
    frame.replaceChildren(...lines);
  }

  const place = (node, d, loss) => {
    node.setAttribute("cx", x(d));
    node.setAttribute("cy", y(loss));
  };
  const draw = (now, rows, own, to) => {
    const wide = Math.max(to, Math.abs(now.d));
    if (wide !== reach) rule(wide);
    place(natural, now.d, now.loss);
    place(ten, now.d, now.loss10);
    drop.setAttribute("x1", x(now.d));
    drop.setAttribute("x2", x(now.d));
    drop.setAttribute("y1", y(now.loss));
    drop.setAttribute("y2", y(0));
    const inside = ({ d }) => Math.abs(d) <= reach;
    marks.replaceChildren(...rows.filter(inside).map((row) => svg("circle", { r: 9, class: "mark", cx: x(row.d), cy: y(row.loss) })));
    pairs.replaceChildren(
      ...own.map((pair, i) => {
        const { d, loss } = comparisonLoss(pair.r1, pair.r2);
        if (!inside({ d })) return svg("g");
        const node = svg("path", { d: `M${x(d)} ${y(loss) - 7}l7 7l-7 7l-7 -7z`, class: d > 0 ? "pair" : "pair wrong" });
        node.append(svg("title", {}, `${arrive(pair.prompt)} (${signed(d)})`));
        node.addEventListener("click", () => choose(i));
        return node;
      }),
    );
  };
  return { root, draw };
}

/** One score: its name, a slider and a number field that follow each other. */
function score(name, words, commit) {
  const slider = h("input", { type: "range", min: LOW, max: HIGH, step: 0.1, "aria-label": `${name}, ${words}` });
  const field = h("input", { type: "number", min: LOW, max: HIGH, step: 0.1, "aria-label": `${name} as a number` });
  const label = h("span", { class: "wbx-score-name" }, h("b", {}, name), " ", h("span", { class: "wb-muted" }, words));
  slider.addEventListener("input", () => commit(Number(slider.value)));
  field.addEventListener("change", () => {
    const value = Number(field.value);
    if (field.value !== "" && Number.isFinite(value)) commit(Math.min(HIGH, Math.max(LOW, value)));
    else field.value = slider.value;
  });
  const show = (value) => {
    slider.value = value;
    if (!field.matches(":focus")) field.value = value.toFixed(1);
  };
  return { root: h("label", { class: "wbx-score" }, label, slider, field), show };
}

function step(name, value, note, extra = "") {
  return h(
    "div",
    { class: `wbx-step ${extra}` },
    h("span", { class: "wbx-step-name" }, name),
    h("output", { class: "wb-num" }, value),
    h("span", { class: "wb-muted" }, note),
  );
}

function verdict(now) {
  if (now.d > 0) return "The model agrees with the person: a small loss, and the surer the smaller.";
  if (now.d < 0) return "The model has the two answers the wrong way round: the loss grows with every point.";
  return "The model cannot tell them apart: ln 2, what an untrained model pays.";
}

/** One of the run's pairs as a button: how it stands, and what was asked. */
function pairButton({ r1, r2, prompt }, onclick) {
  const right = r1 > r2;
  const margin = h("b", { class: right ? "wb-num" : "wb-num wrong" }, signed(r1 - r2));
  return h("button", { type: "button", onclick, title: right ? "right order" : "wrong way round" }, margin, h("span", { class: "wbx-asked" }, arrive(prompt)));
}

/** Draw the explorer into `el`; returns what ends it. */
function drawn(model, el) {
  const root = h("section", { class: "wb wbx", "aria-label": "Loss explorer" });
  const set = (name) => (value) => {
    model.set(name, value);
    model.save_changes();
    draw();
  };
  const chosen = score("r₁", "score of the chosen answer", set("r1"));
  const rejected = score("r₂", "score of the rejected answer", set("r2"));
  const own = model.get("pairs");
  const widest = Math.max(0, ...own.map(({ r1, r2 }) => Math.abs(r1 - r2)));
  let reach = own.length ? Object.values(REACH).find((to) => to >= widest) ?? REACH.far : REACH.usual;
  const curve = lossCurve((i) => choosePair(i));
  const reaches = h(
    "div",
    { class: "wbx-reach", role: "group", "aria-label": "how much of the curve" },
    ...Object.values(REACH).map((to) => h("button", { type: "button", class: "wb-quiet", onclick: () => ((reach = to), draw()) }, `±${to}`)),
  );
  const reading = h("div", { class: "wbx-pair", hidden: !own.length });
  const list = h("div", { class: "wbx-pairs" }, ...own.map((pair, i) => pairButton(pair, () => choosePair(i))));
  const steps = h("div", { class: "wbx-steps", "aria-live": "polite" });
  const words = h("p", { class: "wbx-verdict" });
  const body = h("tbody");
  const add = h("button", { type: "button", onclick: () => addRow() }, "Add row", keycap("a"));
  const keep = (rows) => {
    model.set("kept", rows);
    model.save_changes();
  };
  const addRow = () => keep([...model.get("kept"), [model.get("r1"), model.get("r2")]]);

  const columns = [
    h("th", { scope: "col" }, "r₁"),
    h("th", { scope: "col" }, "r₂"),
    h("th", { scope: "col" }, "r₁ − r₂"),
    h("th", { scope: "col" }, "σ(r₁ − r₂)"),
    h("th", { scope: "col", class: "natural" }, "−ln σ", h("small", {}, "training")),
    h("th", { scope: "col", class: "ten" }, "−log₁₀ σ", h("small", {}, "the lecture")),
    h("th", {}, h("span", { class: "wbx-hidden" }, "remove")),
  ];
  const note = h(
    "p",
    { class: "wbx-note" },
    "The lecture prints 4.39 and 0.003 for (0, 10) and (5, 0). Those are base-10 logarithms, and 4.39 comes from a σ cut to 0.00004; " +
      "exactly they are 4.343 and 0.0029. Training uses the natural logarithm: 10.000 and 0.0067. " +
      "The two differ by the factor ln 10 = 2.303 everywhere, so they rank pairs alike.",
  );
  root.append(
    h(
      "div",
      { class: "wbx-top" },
      h("div", { class: "wbx-left" }, chosen.root, rejected.root, steps, words),
      h("figure", { class: "wbx-figure" }, curve.root, h("figcaption", { class: "wb-muted" }, reaches, own.length ? "The point is the sliders; diamonds are held-out pairs." : "The point is the sliders; rings are the rows below.")),
    ),
    ...(own.length ? [h("div", { class: "wbx-own" }, h("span", { class: "wb-label" }, `Held-out pairs of ${arrive(model.get("run"))}`), list, reading)] : []),
    h("div", { class: "wbx-bar" }, h("span", { class: "wb-label" }, "Rows kept"), add),
    h("div", { class: "wbx-scroll" }, h("table", { class: "wbx-table wb-num" }, h("thead", {}, h("tr", {}, ...columns)), body)),
    note,
  );

  function choosePair(i) {
    const { r1, r2, prompt, chosen: better, rejected: worse } = own[i];
    const inside = (value) => Math.min(HIGH, Math.max(LOW, value));
    model.set("r1", inside(r1));
    model.set("r2", inside(r2));
    model.save_changes();
    [...list.children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
    const answer = (name, text) => h("div", {}, h("span", { class: "wb-label" }, name), textBlock(arrive(text)));
    reading.replaceChildren(textBlock(arrive(prompt)), h("div", { class: "wbx-answers" }, answer(`chosen, ${signed(r1)}`, better), answer(`rejected, ${signed(r2)}`, worse)));
    draw();
  }

  function drawRows(rows) {
    body.replaceChildren(
      ...rows.map((row, index) => {
        const remove = h("button", { type: "button", class: "wb-quiet", "aria-label": `remove row ${index + 1}` }, "×");
        remove.addEventListener("click", () => {
          keep(model.get("kept").filter((_, i) => i !== index));
          root.focus();
        });
        const cells = [signed(row.r1), signed(row.r2), signed(row.d), shown(row.sigma)].map((value) => h("td", {}, value));
        const line = h("tr", {}, ...cells, h("td", { class: "natural" }, shown(row.loss)), h("td", { class: "ten" }, shown(row.loss10)), h("td", {}, remove));
        line.addEventListener("click", (event) => {
          if (event.target.closest("button")) return;
          model.set("r1", Math.min(HIGH, Math.max(LOW, row.r1)));
          model.set("r2", Math.min(HIGH, Math.max(LOW, row.r2)));
          model.save_changes();
          draw();
        });
        return line;
      }),
    );
  }

  const keptRows = () => model.get("kept").map(([r1, r2]) => comparisonLoss(r1, r2));
  function draw() {
    const now = comparisonLoss(model.get("r1"), model.get("r2"));
    chosen.show(now.r1);
    rejected.show(now.r2);
    steps.replaceChildren(
      step("r₁ − r₂", signed(now.d), "the margin"),
      step("σ(r₁ − r₂)", shown(now.sigma), "how sure of the person's choice"),
      step("−ln σ", shown(now.loss), "the loss in training", "natural"),
      step("−log₁₀ σ", shown(now.loss10), "as the lecture prints it", "ten"),
      step("1 − σ", shown(comparisonLoss(now.r2, now.r1).sigma), "the push: r₁ up, r₂ down"),
    );
    words.textContent = verdict(now);
    curve.draw(now, keptRows(), own, reach);
    [...reaches.children].forEach((button) => button.setAttribute("aria-pressed", String(button.textContent === `±${reach}`)));
  }
  const drawAll = () => {
    drawRows(keptRows());
    draw();
  };
  model.on("change:kept", drawAll);
  model.on("change:r1 change:r2", draw);
  guardKeys(root, (key) => (key.toLowerCase() === "a" ? (addRow(), true) : false));
  drawAll();
  el.append(root);
  return () => {
    model.off("change:kept", drawAll);
    model.off("change:r1 change:r2", draw);
  };
}

export default class LossExplorer {
  constructor(model, el) {
    this.close = drawn(model, el);
  }
}
