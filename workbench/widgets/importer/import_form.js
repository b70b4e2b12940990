// The import form: which column is which, three pairs as they would be read, and the import.
import { arrive, guardKeys, h, keycap, newId, visible } from "../kit/safe_text.js";

const OUTCOME_WORDS = ["a tie", "both are bad", "no label"];
const LEAST = 2; // answers of a pair
const MOST = 6;

/** A select over the columns by their places; "" stands for `none`. */
function columnSelect(columns, none, label, chosen, changed) {
  const select = h(
    "select",
    { "aria-label": label, onchange: () => changed(select.value === "" ? null : Number(select.value)) },
    h("option", { value: "" }, none),
    ...columns.map((column, place) => h("option", { value: place }, column.name)),
  );
  select.value = chosen ?? "";
  return select;
}

function text(content) {
  const node = h("p", { class: "wb-text", dir: "auto" });
  node.append(visible(content));
  return node;
}

function pairView(pair) {
  const answers = pair.answers.map((answer, place) => {
    const better = place === pair.winner;
    const word = better ? h("span", { class: "wb-chip green" }, "better") : null;
    return h("div", { class: better ? "wbi-answer better" : "wbi-answer" }, word, text(arrive(answer)));
  });
  const chip = pair.label ? h("span", { class: "wb-chip" }, pair.label) : null;
  return h("div", { class: "wbi-pair" }, text(arrive(pair.prompt)), chip, h("div", { class: "wbi-answers" }, ...answers));
}

function problemBanner(problem) {
  const lines = [arrive(problem.what), arrive(problem.where), arrive(problem.fix)].filter(Boolean);
  const [what, ...rest] = lines;
  return h("div", { class: "wb-banner error", role: "alert" }, h("p", {}, h("strong", {}, what), rest.length ? "\n" + rest.join("\n") : ""));
}

/** Draw the form into `el`; returns what ends it. */
function importForm(model, el) {
  const root = h("section", { class: "wb wbi", "aria-label": "Import pairs" });
  let columns = [];
  let choice = null;
  let busy = false;
  const group = newId(); // of the radio buttons: a page may show the form twice
  const answersBox = h("div");
  const betterBox = h("fieldset");
  const valuesBox = h("div");
  const pairsBox = h("div", { class: "wbi-pairs", "aria-live": "polite" });
  const doneBox = h("div", { class: "wbi-done", "aria-live": "polite" });
  const read = h("button", { type: "button", class: "wbi-read", onclick: () => importAll() }, "Read all rows", keycap("i"));
  const sides = {};

  const say = (type) => model.send({ type, ...choice });
  const change = (part, value) => {
    choice[part] = value;
    if (part === "label") choice.values = {};
    doneBox.replaceChildren();
    say("choose");
  };

  function importAll() {
    if (busy || read.disabled) return;
    busy = true;
    read.disabled = true;
    doneBox.replaceChildren(h("p", { class: "wb-muted" }, "Reading …"));
    say("import");
  }

  function drawAnswers() {
    const parts = choice.answers.map((place, number) => {
      const name = choice.answers.length > 2 ? `answer ${number + 1}` : number ? "right answer" : "left answer";
      const select = columnSelect(columns, "(choose a column)", name, place, (value) => {
        const answers = [...choice.answers];
        answers[number] = value;
        choice.values = {};
        change("answers", answers);
      });
      return h("div", { class: "wbi-part" }, h("span", {}, name), select);
    });
    const more = h("button", { type: "button", class: "wb-link", onclick: () => {
      choice.answers = [...choice.answers, null];
      if (typeof choice.better === "number") choice.better = "nobody";
      drawAnswers();
      drawBetter();
      say("choose");
    } }, "one more answer");
    const fewer = h("button", { type: "button", class: "wb-link", onclick: () => {
      choice.answers = choice.answers.slice(0, -1);
      choice.values = {};
      drawAnswers();
      drawBetter();
      say("choose");
    } }, "one answer less");
    const count = choice.answers.length;
    answersBox.replaceChildren(...parts, h("div", { class: "wbi-bar" }, count < MOST ? more : null, count > LEAST ? fewer : null));
  }

  function drawBetter() {
    const several = choice.answers.length > 2;
    const option = (value, words, key, beside = null) => {
      const input = h("input", { type: "radio", name: group, onchange: () => better(value) });
      input.checked = choice.better === value;
      sides[value] = input;
      return h("div", { class: "wbi-radio" }, h("label", {}, input, words, key ? keycap(key) : null), beside);
    };
    const label = columnSelect(columns, "(choose a column)", "the column that says which is better", choice.label, (value) => {
      choice.better = "column";
      sides.column.checked = true;
      change("label", value);
    });
    betterBox.replaceChildren(
      h("legend", {}, "Which side is better?"),
      ...(several ? [] : [option(0, "always the left one", "l"), option(1, "always the right one", "r")]),
      option("column", "a column says it:", null, label),
      valuesBox,
      option("nobody", "nobody has said yet: to be labelled", "n"),
    );
  }

  function better(value) {
    if (typeof value === "number" && choice.answers.length > 2) return;
    sides[value].checked = true;
    change("better", value);
  }

  function drawValues(values) {
    const there = values.map((one) => one.value).join("\u0000") + choice.answers.join();
    if (valuesBox.dataset.there === there && choice.better === "column") {
      // the same values: what the person has in hand stays in hand
      for (const [place, one] of values.entries()) valuesBox.querySelectorAll("select")[place].value = one.means ?? "";
      return;
    }
    valuesBox.dataset.there = there;
    const names = choice.answers.map((place) => `${columns[place]?.name ?? "?"} is better`);
    valuesBox.replaceChildren(
      ...values.map((one) => {
        const select = h(
          "select",
          { "aria-label": `what ${arrive(one.value)} means`, onchange: () => explain(values) },
          h("option", { value: "" }, "(say what it means)"),
          ...[...names, ...OUTCOME_WORDS].map((words, place) => h("option", { value: place }, words)),
        );
        select.value = one.means ?? "";
        const value = h("span");
        value.append(visible(arrive(one.value)), ` (${one.rows} rows)`);
        return h("div", { class: "wbi-value" }, value, select);
      }),
    );
  }

  function explain(values) {
    const chosen = [...valuesBox.querySelectorAll("select")].map((select) => select.value);
    const said = {};
    for (const [place, one] of values.entries()) if (chosen[place] !== "") said[arrive(one.value)] = Number(chosen[place]);
    change("values", said);
  }

  function drawState(state) {
    drawValues(state.values);
    const notes = state.left.map((one) => h("p", { class: "wb-muted" }, `${one.rows} of the first ${state.looked} rows are put aside: ${arrive(one.reason)}`));
    const empty = state.pairs.length ? null : h("p", { class: "wb-muted" }, "Choose a column for each answer, and say which is better.");
    pairsBox.replaceChildren(
      h("span", { class: "wb-label" }, "As it would be read"),
      ...(state.problem ? [problemBanner(state.problem)] : state.pairs.length ? state.pairs.map(pairView) : [empty]),
      ...notes,
      ...(state.code ? [h("span", { class: "wb-label" }, "The same without this form"), h("pre", { class: "wbi-code" }, arrive(state.code))] : []),
    );
    read.disabled = busy || Boolean(state.problem) || !state.pairs.length;
    if (state.done) {
      busy = false;
      read.disabled = false;
      const { items, labelled, report } = state.done;
      doneBox.replaceChildren(
        h("p", {}, h("strong", {}, `${items.toLocaleString("en")} pairs are read, ${labelled.toLocaleString("en")} with a label.`), " They are in the form's .pairs."),
        h("pre", { class: "wbi-report" }, arrive(report)),
      );
    }
  }

  function begin(message) {
    columns = message.columns.map((column) => ({ name: arrive(column.name), example: arrive(column.example) }));
    choice = { ...message.choice, values: {} };
    while (choice.answers.length < LEAST) choice.answers.push(null);
    for (const one of message.values) if (message.choice.values[one.value] !== undefined) choice.values[arrive(one.value)] = one.means;
    const rows = columns.map((column) => {
      const example = h("td");
      example.append(visible(column.example, { edges: false }));
      return h("tr", {}, h("th", { scope: "row" }, column.name), example);
    });
    const known = message.format
      ? `These columns are the format ${message.format}: nothing needs to be chosen.`
      : "No known format has these columns.";
    const single = (part, words, none) =>
      h("div", { class: "wbi-part" }, h("span", {}, words), columnSelect(columns, none, words, choice[part], (value) => change(part, value)));
    root.replaceChildren(
      h("div", { class: "wbi-head" }, h("b", {}, arrive(message.name)), h("span", { class: "wb-muted" }, known)),
      h(
        "div",
        { class: "wbi-top" },
        h("div", { class: "wbi-columns" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "column"), h("th", { scope: "col" }, "for example"))), h("tbody", {}, ...rows))),
        h(
          "div",
          {},
          single("prompt", "prompt", "(inside the answers)"),
          answersBox,
          betterBox,
          h("fieldset", {}, h("legend", {}, "If there is one"), single("system", "system text", "(none)"), single("annotator", "who judged", "(none)")),
        ),
      ),
      pairsBox,
      h("div", { class: "wbi-bar" }, read),
      doneBox,
    );
    drawAnswers();
    drawBetter();
    drawState(message);
  }

  const hear = (message) => {
    if (message.type === "begin") begin(message);
    else if (message.type === "state" && choice) drawState(message);
    else if (message.type === "fault") {
      busy = false;
      read.disabled = false;
      doneBox.replaceChildren(problemBanner(message.fault));
    }
  };
  model.on("msg:custom", hear);
  guardKeys(root, (key) => {
    const side = { l: 0, r: 1, n: "nobody" }[key.toLowerCase()];
    if (!choice) return false;
    if (side !== undefined) return better(side), true;
    if (key.toLowerCase() === "i") return importAll(), true;
    return false;
  });
  el.append(root);
  model.send({ type: "ready" });
  return () => model.off("msg:custom", hear);
}

export default class ImportForm {
  constructor(model, el) {
    this.close = importForm(model, el);
  }
}
