// The difference between two texts, in words.

// Scripts written without spaces: the host's dictionary finds their words, run by run (over a
// whole text `Intl.Segmenter` takes quadratic time).
const UNSPACED =
  "[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\u30FC\\p{Script=Thai}\\p{Script=Lao}" +
  "\\p{Script=Khmer}\\p{Script=Myanmar}]";
const TOKEN = new RegExp(
  `(?<space>\\s+)|(?<run>${UNSPACED}+)|(?:(?!${UNSPACED})[\\p{L}\\p{M}\\p{N}_'’])+|[^]`,
  "gu",
);
const segmenter = globalThis.Intl?.Segmenter
  ? new Intl.Segmenter("und", { granularity: "word" })
  : null;

/** Words, each with the space that follows it; punctuation apart. */
export function words(text) {
  const out = [];
  for (const match of text.matchAll(TOKEN)) {
    const { space, run } = match.groups;
    if (space && out.length) out[out.length - 1] += space;
    else if (run && segmenter && run.length <= 500)
      for (const { segment } of segmenter.segment(run)) out.push(segment);
    else if (run) out.push(...run);
    else out.push(match[0]);
  }
  return out;
}

/**
 * Which words of `a` and of `b` are not in the other (Myers' shortest edit script).
 * Returns {left, right}: lists of [text, changed], or null when the time budget is spent.
 */
export function wordDiff(a, b, budget = 120) {
  const deadline = performance.now() + budget;
  const left = words(a);
  const right = words(b);
  const codes = new Map();
  const code = (word) => {
    const key = word.trimEnd();
    if (!codes.has(key)) codes.set(key, codes.size);
    return codes.get(key);
  };
  const x = left.map(code);
  const y = right.map(code);
  let start = 0;
  while (start < x.length && start < y.length && x[start] === y[start]) start++;
  let end = 0;
  const least = Math.min(x.length, y.length) - start;
  while (end < least && x[x.length - 1 - end] === y[y.length - 1 - end]) end++;
  const same = common(x.slice(start, x.length - end), y.slice(start, y.length - end), deadline);
  if (!same) return null;
  const keptLeft = new Set(same.map(([i]) => i + start));
  const keptRight = new Set(same.map(([, j]) => j + start));
  const inside = (i, length) => i >= start && i < length - end;
  return {
    left: runs(left, (i) => inside(i, x.length) && !keptLeft.has(i)),
    right: runs(right, (j) => inside(j, y.length) && !keptRight.has(j)),
  };
}

/** Index pairs of a longest common subsequence, or null when time runs out. */
function common(x, y, deadline) {
  const n = x.length;
  const m = y.length;
  const most = n + m;
  const reach = new Int32Array(2 * most + 3);
  const offset = most + 1;
  const trace = [];
  let cells = 0;
  for (let d = 0; d <= most; d++) {
    if (performance.now() > deadline || cells > 16e6) return null;
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[offset + k - 1] < reach[offset + k + 1]);
      let i = down ? reach[offset + k + 1] : reach[offset + k - 1] + 1;
      while (i < n && i - k < m && x[i] === y[i - k]) i++;
      reach[offset + k] = i;
      if (i >= n && i - k >= m) return walkBack(trace, x, y, d, offset);
    }
    trace.push(reach.slice(offset - d - 1, offset + d + 2));
    cells += 2 * d + 3;
  }
  return [];
}

function walkBack(trace, x, y, steps, offset) {
  const pairs = [];
  let i = x.length;
  let j = y.length;
  for (let d = steps; d > 0; d--) {
    const before = trace[d - 1];
    const at = (k) => before[k + d];
    const k = i - j;
    const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
    const fromK = down ? k + 1 : k - 1;
    const fromI = at(fromK);
    const fromJ = fromI - fromK;
    while (i > (down ? fromI : fromI + 1) && j > (down ? fromJ + 1 : fromJ)) pairs.push([--i, --j]);
    i = fromI;
    j = fromJ;
  }
  while (i > 0 && j > 0) pairs.push([--i, --j]);
  return pairs;
}

/** Neighbouring words of one state joined: [[text, changed], …]. */
function runs(tokens, changed) {
  const out = [];
  tokens.forEach((token, i) => {
    const state = changed(i);
    if (out.length && out[out.length - 1][1] === state) out[out.length - 1][0] += token;
    else out.push([token, state]);
  });
  return out;
}
