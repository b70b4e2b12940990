// A heat-map over the tokens of an answer: colour, stroke and words say the same.
import { h } from "../kit/dom.js";
import { arrive, visible } from "../kit/safe_text.js";
import { brief } from "../kit/plot.js";

export const HEATS = {
  kl: { label: "KL", unit: "nats", help: "log policy − log reference of each token: where the policy has left its start" },
  value: { label: "Value", unit: "points", help: "what the value model expects of the rest of the answer, at each token" },
  advantage: { label: "Advantage", unit: "", help: "how much better than expected each token turned out; PPO makes positive ones likelier" },
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
  const block = h("div", { class: "wb-text wbp-heat", dir: "auto" });
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
  return [block, h("p", { class: "wbp-strongest wb-muted" }, `strongest: ${named.join(", ")}`)];
}

/** What the colours mean. */
export function heatLegend(name, scale) {
  const { label, unit, help } = HEATS[name];
  const end = (value, sign) => h("span", { class: `wbp-heat ${sign}` }, h("span", { class: sign, style: "--heat:100%" }, signed(value)));
  return h("p", { class: "wbp-legend wb-muted", title: help }, `${label} of each token: `, end(-scale, "minus"), " 0 ", end(scale, "plus"), ` ${unit}. ${help}.`);
}

const signed = (value) => (value > 0 ? "+" : "") + brief(value);

/** A token's text without its tokenizer's marks for a space and a line break. */
const piece = (text) => arrive(text).replace(/[Ġ▁]/g, " ").replace(/Ċ/g, "\n");
