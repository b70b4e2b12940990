// Markdown as elements: Python rendered and sanitised it; here it is built anew, from a list of tags
// and without attributes, so that nothing but reading matter can come of it.
import { arrive, h, visible } from "./safe_text.js";

const TAGS = new Set(
  "p br hr h1 h2 h3 h4 h5 h6 strong em s code pre blockquote ul ol li table thead tbody tr th td u".split(" "),
);
const BLOCKS = new Set("p h1 h2 h3 h4 h5 h6 li blockquote th td".split(" "));

/** A text block from rendered Markdown. */
export function markdownBlock(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html"); // of no page: nothing loads
  const nodes = [...parsed.body.childNodes].map(copied);
  return h("div", { class: "wb-text wb-markdown", dir: "auto" }, ...nodes);
}

function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return visible(arrive(node.data), { edges: false });
  const tag = TAGS.has(node.localName) ? node.localName : "span";
  const direction = BLOCKS.has(tag) ? { dir: "auto" } : {};
  return h(tag, direction, ...[...node.childNodes].map(copied));
}
