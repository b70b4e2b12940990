// What the labeller says besides the pair: what went wrong, which keys there are, what comes next.
import { arrive, grouped, h, keycap, visible } from "../kit/safe_text.js";

/** The banner for what went wrong in an outbox: {level, nodes}, or null when all is well. */
export function noticeOf(outbox) {
  const { trouble, refused, silent, unsaved } = outbox;
  const one = unsaved === 1;
  const count = one ? "1 label is" : `${grouped(unsaved)} labels are`;
  const quiet = { class: "wb-quiet", onclick: () => outbox.giveUp() };
  if (trouble)
    return {
      level: "error",
      nodes: [
        lines(trouble.what, trouble.where, mend(trouble), `${count} kept here and tried again.`),
        h("button", { onclick: () => outbox.send(true) }, "Try again now"),
        h("button", quiet, `Discard ${one ? "it" : "them"}`),
      ],
    };
  if (refused) {
    const what = refused.outside ? refused.what : `Not taken: ${refused.what}`;
    return { level: "error", nodes: [lines(what, refused.where, mend(refused))] };
  }
  if (!silent) return null;
  const wait = `${count} not saved; ${one ? "it waits here and is" : "they wait here and are"} sent again.`;
  const why =
    "It may be busy with another cell, or gone. If it was restarted, run this cell again: " +
    "what waits in this tab is then saved.";
  return {
    level: "warn",
    nodes: [lines("The kernel does not answer.", unsaved ? wait : "", why)],
  };
}

function mend({ fix }) {
  return fix ? `Fix: ${fix}` : "";
}

function lines(title, ...rest) {
  const first = title.charAt(0).toUpperCase() + title.slice(1);
  return h("div", {}, h("strong", {}, first), h("p", {}, rest.filter(Boolean).join("\n")));
}

const ACTIONS = {
  left: "The left answer is better",
  right: "The right answer is better",
  tie: "Equally good",
  both_bad: "Neither is any good",
  skip: "Leave without a label",
  flag: "Mark as one to look at again",
  note: "Write a note",
  edit: "Word the better answer better still",
  undo: "Take back the last action",
  redo: "Restore what was taken back",
  jump: "Go to a pair by its number",
  guide: "Show or hide the guidelines",
  diff: "Show which words differ",
  render: "Show Markdown as it is meant",
  unfold: "Show all of a long text",
  help: "Show or hide these keys",
};
const RANKING = {
  commit: "Save the ranking",
  back: "Take one rank back",
  equal: "The next answer shares the last one's rank",
};

/** The list of keys. */
export function helpOf(keys, tags = []) {
  const line = (names, text) => h("li", {}, h("span", {}, ...names.map(keycap)), text);
  const blind =
    "Which answer stands left is drawn for each pair and person; who wrote it is not shown.";
  return [
    h("span", { class: "wb-label" }, "Keys"),
    h(
      "ul",
      {},
      ...Object.entries(ACTIONS).map(([action, text]) => line(keys[action], text)),
      line(["1", "9"], "Of more than two answers: name them, best first"),
      ...Object.entries(RANKING).map(([action, text]) => line(keys[action], text)),
      ...tags.map(({ name, key }) => line([key], visible(`Reason: ${arrive(name)}`))),
      line(["Escape"], "Give the keyboard back to the notebook"),
    ),
    h("p", { class: "wb-muted" }, blind),
  ];
}

/** What is said when all is decided. */
export function endOf({ done, skipped, flagged, left, total, asks }) {
  if (left) return waitingOf(left, done);
  if (asks)
    return [
      h("h3", {}, "All that the run asked is decided"),
      h(
        "p",
        { class: "wb-muted" },
        "It learns from these labels now. What it asks next comes here by itself.",
      ),
    ];
  const others = total - done - skipped;
  const rest = [
    others > 0 && `${grouped(others)} by other people`,
    skipped && `${grouped(skipped)} skipped`,
    flagged && `${grouped(flagged)} flagged`,
  ].filter(Boolean);
  const step = (code, text) =>
    h("li", {}, h("code", {}, code), h("span", { class: "wb-muted" }, text));
  const counts = [`${grouped(done)} labelled`, ...rest].join(", ");
  return [
    h("div", { class: "wbl-tick", "aria-hidden": "true" }, "✓"),
    h(
      "h3",
      {},
      total === 1 ? "The one pair is decided" : `All ${grouped(total)} pairs are decided`,
    ),
    h("p", { class: "wb-muted" }, `${counts}. Undo still works.`),
    h(
      "ul",
      {},
      step("store.pairs()", "the labels as pairs, ready to train on"),
      step("wb.quality(store.pairs())", "agreement, duplicates, length bias"),
      step("wb.train_reward(model, store.pairs())", "teach a reward model what you prefer"),
    ),
  ];
}

/** What is said when others are on all that is left. */
function waitingOf(left, done) {
  const some = left === 1 ? "The last pair is" : `The last ${grouped(left)} pairs are`;
  return [
    h("h3", {}, `${some} with somebody else`),
    h(
      "p",
      { class: "wb-muted" },
      `${grouped(done)} labelled by you. What they leave comes here by itself. Undo still works.`,
    ),
  ];
}

/** What is known of an item besides its texts, as chips. */
export function marksOf({ decided, flagged, note }) {
  const chips = [];
  if (decided !== null) {
    const before = DONE[decided]?.toLowerCase() ?? inOrder(decided);
    chips.push(h("span", { class: "wb-chip blue" }, `you said: ${before}`));
  }
  if (flagged) chips.push(h("span", { class: "wb-chip orange" }, "⚑ flagged"));
  if (note) chips.push(h("span", { class: "wb-chip", title: note }, "✎ ", visible(note)));
  return chips;
}

/** A place, or a ranking such as "2>0=1", in words: counted from 1. */
function inOrder(decided) {
  if (typeof decided === "number") return `number ${decided + 1} is best`;
  const places = decided.replace(/\d+/g, (place) => Number(place) + 1);
  return `ranked ${places.replaceAll(">", ", then ").replaceAll("=", " = ")}`;
}

export const DONE = {
  left: "Left is better",
  right: "Right is better",
  tie: "Tie",
  both_bad: "Both bad",
  skip: "Skipped",
  flag: "Flagged",
  note: "Note",
  undo: "Undone",
  redo: "Redone",
};

/** What was done, in words. */
export function inWords(action, detail) {
  if (action === "rank") return `Ranked ${detail.places.map(placesTied).join(", then ")}`;
  if (action === "edit") return "Worded better";
  if (action !== "choose") return DONE[action];
  const choice = DONE[detail.choice] ?? `Number ${detail.choice + 1} is best`;
  return detail.strength ? `${choice} (${detail.strength})` : choice;
}

function placesTied(places) {
  return places.map((place) => place + 1).join(" = ");
}
