// Reading text that people and models wrote: every character is shown, none of it is run.
// Text only ever becomes a text node.
import { h } from "./dom.js";
import { wordDiff } from "./word_diff.js";

export { grouped, guardKeys, h, keycap, newId, release } from "./dom.js";
export { wordDiff, words } from "./word_diff.js";

/** Undo `wire.py`: lone surrogates cross the wire as U+FDD0 hex U+FDD1. */
export function arrive(text) {
  return String(text ?? "").replace(/\uFDD0([0-9A-F]{4})\uFDD1/g, (_, hex) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
}

// --- characters that cannot be seen ----------------------------------------------------------

// Joiners inside words of scripts that need them, and the tags of flag emoji, stay as they are.
const SHAPED =
  "[\\p{Script=Arabic}\\p{Script=Devanagari}\\p{Script=Bengali}\\p{Script=Malayalam}\\p{Script=Kannada}" +
  "\\p{Script=Sinhala}\\p{Script=Tamil}\\p{Script=Telugu}\\p{Script=Gujarati}\\p{Script=Khmer}\\p{M}]";
const EMOJI = "[\\p{Extended_Pictographic}\\uFE0F\\u{1F3FB}-\\u{1F3FF}]";
const HIDDEN = new RegExp(
  `(?<keep>\\u{1F3F4}[\\u{E0020}-\\u{E007F}]+|(?<=${EMOJI})\\u200D(?=\\p{Extended_Pictographic}|[\\u2640\\u2642])` +
    `|(?<=${SHAPED})[\\u200C\\u200D](?=${SHAPED}))` +
    "|(?<hidden>[\\u0000-\\u0008\\u000B-\\u001F\\u007F-\\u009F\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5" +
    "\\u180B-\\u180E\\u200B-\\u200F\\u2028-\\u202E\\u2060-\\u206F\\u3164\\uFEFF\\uFFA0\\uFFF9-\\uFFFB" +
    "\\uFDD0-\\uFDEF\\uFFFE\\uFFFF\\u{E0000}-\\u{E007F}]|\\p{Cs})",
  "gu",
);
const NAMES = {
  0x00ad: ["SHY", "soft hyphen"],
  0x061c: ["ALM", "Arabic letter mark"],
  0x200b: ["ZWSP", "zero width space"],
  0x200c: ["ZWNJ", "zero width non-joiner"],
  0x200d: ["ZWJ", "zero width joiner"],
  0x200e: ["LRM", "left-to-right mark"],
  0x200f: ["RLM", "right-to-left mark"],
  0x2028: ["LS", "line separator"],
  0x2029: ["PS", "paragraph separator"],
  0x202a: ["LRE", "left-to-right embedding"],
  0x202b: ["RLE", "right-to-left embedding"],
  0x202c: ["PDF", "pop directional formatting"],
  0x202d: ["LRO", "left-to-right override"],
  0x202e: ["RLO", "right-to-left override"],
  0x2060: ["WJ", "word joiner"],
  0x2066: ["LRI", "left-to-right isolate"],
  0x2067: ["RLI", "right-to-left isolate"],
  0x2068: ["FSI", "first strong isolate"],
  0x2069: ["PDI", "pop directional isolate"],
  0xfeff: ["BOM", "byte order mark"],
};

// What is on screen for a control character: few fonts have the pictures U+2400 and on, which
// stay the text of the mark (and what a copy takes along).
const CONTROLS =
  "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(
    " ",
  );

function mark(character) {
  const code = character.codePointAt(0);
  const hex = code.toString(16).toUpperCase().padStart(4, "0");
  let [sign, title] = NAMES[code] ?? [`⟨${hex}⟩`, ""];
  const picture = code < 0x20 ? CONTROLS[code] : code === 0x7f ? "DEL" : null;
  if (picture) sign = code === 0x7f ? "␡" : String.fromCodePoint(0x2400 + code);
  if (code >= 0xd800 && code <= 0xdfff) title = "half of a character (lone surrogate)";
  const name = `U+${hex}${title ? " " + title : ""}`;
  const style = code === 0x0d ? "wb-mark soft" : "wb-mark";
  const shown = picture ? h("span", { class: "wb-picture" }, sign) : sign;
  return h("span", { class: style, title: name, "data-name": picture }, shown);
}

/** `text` as nodes: hidden characters as marks. `edges`: also show space at its ends. */
export function visible(text, { edges = true } = {}) {
  const out = document.createDocumentFragment();
  const start = edges ? text.length - text.replace(/^[ \n]+/, "").length : 0;
  let end = text.length;
  while (edges && end > start && " \n".includes(text[end - 1])) end--;
  if (start) out.append(...blanks(text.slice(0, start)));
  const inner = text.slice(start, end);
  let from = 0;
  for (const match of inner.matchAll(HIDDEN)) {
    if (match.groups.keep) continue;
    out.append(inner.slice(from, match.index), mark(match[0]));
    from = match.index + match[0].length;
  }
  out.append(inner.slice(from));
  if (end < text.length) out.append(...blanks(text.slice(end)));
  return out;
}

/** Spaces and line breaks as faint marks: the first hundred, then as they are. */
function blanks(text) {
  const marks = [...text.slice(0, 100)].flatMap((blank) =>
    blank === "\n"
      ? [h("span", { class: "wb-mark soft", title: "line break" }, "↵"), "\n"]
      : [h("span", { class: "wb-mark soft", title: "space" }, "·")],
  );
  return [...marks, text.slice(100)];
}

// --- messages ----------------------------------------------------------------------------------

/** A text block: plain, or with its changed words in `tag` ("del" or "ins"). */
export function textBlock(text, difference = null, tag = "del") {
  const block = h("div", { class: "wb-text", dir: "auto" });
  if (text === "") block.append(h("span", { class: "wb-none" }, "(empty)"));
  else if (!difference) block.append(visible(text));
  else
    for (const [part, changed] of difference) {
      const word = changed ? part.trimEnd() : part;
      const nodes = visible(word, { edges: false });
      block.append(changed && word ? h(tag, {}, nodes) : nodes);
      block.append(visible(part.slice(word.length), { edges: false }));
    }
  return block;
}

const ROLES = { system: "System", user: "User", assistant: "Assistant", tool: "Tool" };

/** Messages as turns; the role is written where it is not obvious. `blocks`: nodes in their place. */
export function turns(messages, usual, differences = [], tag = "del", blocks = []) {
  if (!messages.length) return [h("span", { class: "wb-none" }, "(empty)")];
  return messages.map((message, i) => {
    const turn = h("div", { class: "wb-turn" });
    if (messages.length > 1 || message.role !== usual)
      turn.append(h("span", { class: "wb-role wb-label" }, ROLES[message.role] ?? message.role));
    turn.append(blocks[i] || textBlock(arrive(message.content), differences[i], tag));
    return turn;
  });
}

/** The word differences of two answers, turn by turn; null when they take too long to find. */
export function compareTurns(a, b) {
  const left = [];
  const right = [];
  const deadline = performance.now() + 150;
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [x, y] = [a, b].map((side) => arrive(side[i]?.content));
    const diff = wordDiff(x, y, deadline - performance.now());
    if (!diff) return null;
    left.push(diff.left);
    right.push(diff.right);
  }
  return { left, right };
}
