// Brings a report's still pictures to life: curves by Plotly, changed words by a button.
import { h } from "../widgets/kit/dom.js";
import { textBlock } from "../widgets/kit/safe_text.js";
import { wordDiff } from "../widgets/kit/word_diff.js";
import { Chart, lookOf, watchTheme } from "../widgets/kit/plot.js";

/** Light or dark as the system says, by the class that base.css knows. */
function followSystem() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => document.documentElement.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", set);
  addEventListener("beforeprint", () => document.documentElement.classList.remove("dark")); // paper is white
  addEventListener("afterprint", set);
  set();
}

function drawRuns() {
  const root = document.querySelector(".wb-report");
  const runsData = JSON.parse(document.getElementById("wb-data").textContent);
  const all = runsData.flatMap((run, number) => placeCharts(run, document.querySelector(`[data-run="${number}"]`)));
  const draw = () => {
    const look = lookOf(root);
    for (const { chart, run } of all)
      if (chart.plot.clientWidth) chart.draw(window.Plotly, run.curves, { smoothing: 0, log: false, changes: run.changes, look });
  };
  draw();
  watchTheme(() => requestAnimationFrame(draw));
  document.addEventListener("toggle", () => requestAnimationFrame(draw), true);
  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => all.forEach(({ chart }) => chart.resize(window.Plotly)), 150);
  });
}

/** The charts of one run instead of its still pictures; the lesser ones folded away. */
function placeCharts(run, grid) {
  const charts = run.charts.map((spec) => new Chart(spec, run.kind === "ppo" ? "update" : "step"));
  const roots = (first) => charts.filter((chart) => chart.spec.first === first).map((chart) => chart.root);
  const others = roots(false);
  grid.classList.toggle("threes", roots(true).length % 3 === 0);
  const onPaper = h("div", { class: "wbp-grid wb-print" }, ...grid.childNodes); // the still pictures fit any width
  grid.classList.add("alive");
  grid.replaceChildren(...roots(true));
  grid.before(onPaper);
  if (others.length) grid.after(h("details", {}, h("summary", {}, `${others.length} more curves`), h("div", { class: "wbp-grid threes" }, ...others)));
  return charts.map((chart) => ({ chart, run }));
}

/** Words of the later answers that the first has not, and the other way round. */
function offerDifferences() {
  const button = document.getElementById("wb-diff");
  if (!button) return;
  const rows = [...document.querySelectorAll("table.answers tbody tr")].map((row) => [...row.querySelectorAll(".answer")]);
  const texts = rows.map((cells) => cells.map((cell) => cell.textContent));
  button.hidden = false;
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    rows.forEach((cells, r) =>
      cells.forEach((cell, i) => {
        const found = on && texts[r].length > 1 ? wordDiff(texts[r][0], texts[r][Math.max(1, i)]) : null;
        cell.replaceChildren(...textBlock(texts[r][i], found && (i ? found.right : found.left), i ? "ins" : "del").childNodes);
      }),
    );
  });
}

followSystem();
if (window.Plotly) drawRuns();
offerDifferences();
