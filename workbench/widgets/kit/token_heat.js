// A heat-map over the tokens of an answer: colour, stroke and words say the same.
import { brief, h } from "./dom.js";
import { arrive, visible } from "./safe_text.js";

export const HEATS = {
  kl: { label: "KL", unit: "nats", help: "log policy − log reference of each token: where the policy has left its start" },
  value: { label: "Value", unit: "points", help: "what the value model expects of the rest of the answer, at each token" },
  advantage: { label: "Advantage", unit: "", help: "how much better than expected each token turned out; PPO makes positive ones likelier" },
  part: { label: "Score part", unit: "points", help: "what the reward score loses when the token is taken away, the mean over orders in which all are taken away" },
};
const NAMED = 3; // tokens that are said in words

/** The figures that at least one row has, in the order of HEATS. */
export function heatsOf(rows) {
  return Object.keys(HEATS).filter((name) => rows.some((row) => row.tokens?.[name]));
}

/** The largest size of a figure in any row: full colour. */
export function heatScale(rows, name) {
  return rows.reduce((most, row) => (row.tokens?.[name] ?? []).reduce((top, value) => Math.max(top, Math.abs(value ?? 0)), most), 0);
}

/** One answer as coloured tokens, and the strongest in words below. */
export function heatBlock(tokens, name, scale) {
  const block = h("div", { class: "wb-text wb-heat", dir: "auto" });
  const { unit, label } = HEATS[name];
  tokens.texts.forEach((text, i) => {
    const value = tokens[name][i];
    const share = value === null || !scale ? 0 : Math.abs(value) / scale;
    const sign = value === null || share < 0.02 ? "" : value < 0 ? "minus" : "plus";
    const title = `${label} ${signed(value)} ${unit}`.trim();
    block.append(h("span", { class: sign, style: `--heat:${Math.round(100 * share)}%`, title }, visible(piece(text), { edges: false })));
  });
  const named = tokens.texts
    .map((text, i) => ({ text: piece(text).trim() || "␣", value: tokens[name][i] }))
    .filter((one) => one.value !== null)
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, NAMED)
    .map((one) => `“${one.text}” ${signed(one.value)}`);
  return [block, h("p", { class: "wb-strongest wb-muted" }, `strongest: ${named.join(", ")}`)];
}

/** What the colours mean. */
export function heatLegend(name, scale) {
  const { label, unit, help } = HEATS[name];
  const end = (value, sign) => h("span", { class: `wb-heat ${sign}` }, h("span", { class: sign, style: "--heat:100%" }, signed(value)));
  return h("p", { class: "wbp-legend wb-muted", title: help }, `${label} of each token: `, end(-scale, "minus"), " 0 ", end(scale, "plus"), ` ${unit}. ${help}.`);
}

/** An answer taken apart: its tokens by their parts, what these add up to, and each sentence. */
export function partsBlock({ texts, parts, score, empty, sentences, together }, scale) {
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  const gap = sum(parts) - (score - empty);
  const untold = Math.abs(gap) >= 0.005 ? ` (${brief(Math.abs(gap))} not told by them)` : "";
  const joined = together > 1 ? `; ${together} tokens at a time` : "";
  const total = `score ${inPoints(score)}: ${inPoints(empty)} without a word, ${inPoints(sum(parts))} by its tokens${untold}${joined}`;
  const rows = sentences.map(({ first, end, without }) => {
    const figures = `${inPoints(sum(parts.slice(first, end)))} (left out by itself: ${inPoints(score - without)}) `;
    return h("li", {}, h("span", { class: "wb-num" }, figures), visible(texts.slice(first, end).map(piece).join("").trim(), { edges: false }));
  });
  const list = rows.length ? [h("ul", { class: "wb-sentences wb-muted" }, ...rows)] : [];
  return [...heatBlock({ texts, part: parts }, "part", scale), h("p", { class: "wb-strongest wb-muted" }, total), ...list];
}

/** Two decimals with a sign and a real minus; no sign before zero. */
const inPoints = (value) => (Math.abs(value) < 0.005 ? "0.00" : `${value > 0 ? "+" : ""}${value.toFixed(2).replace("-", "−")}`);

const signed = (value) => (value > 0 ? "+" : "") + brief(value);

/** A token's text without its tokenizer's marks for a space and a line break. */
const piece = (text) => arrive(text).replace(/[Ġ▁]/g, " ").replace(/Ċ/g, "\n");
