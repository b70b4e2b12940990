"""What can be counted in an answer: features with names, and phrases that came or went."""

# numpy's types are partial
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from workbench.analysis.bias import FEATURES
from workbench.analysis.intervals import Floats

LONGEST = 400  # words of an answer that are looked through
GRAMS = 5  # words of a found phrase at most
PHRASES = 40  # found phrases at most
LOOKED_AT = 400  # phrases that came or went, most first
CHANGED = 0.1  # of the answers that must have gained or lost a found phrase

_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*|[^\w\s]")
_REFUSAL = re.compile(
    r"\b(?:I|we)(?:['’]m| am| are)? (?:can ?not|can['’]t|could not|will not|won['’]t|unable|"
    r"must decline|not able)\b|\bas an AI\b",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"\b(?:please|thanks?|thank you|sorry|glad|happy to|welcome|pleasure|kindly|dear|friend)\b",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:perhaps|maybe|might|possibly|probably|I think|I believe|it seems|not sure)\b",
    re.IGNORECASE,
)
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_ENDED = re.compile("[.!?…:;\u3002\uff01\uff1f)\\]\"'”\u2019`*]\\s*$")


class AnswerFeature(NamedTuple):
    """Something counted in answers.

    Attributes:
        name: in words.
        counts: of each answer. ``(answers,)``
        marks: whether counts are 0 or 1: an answer has it or has it not.
        found: whether it is a phrase that was found, not one of the named features.
    """

    name: str
    counts: Floats
    marks: bool
    found: bool = False


def words_of_answer(text: str) -> list[str]:
    """Words and marks of a text, in small letters; of scripts without spaces, each character."""
    return _WORDS.findall(text.lower())


def _count(pattern: re.Pattern[str]) -> Callable[[str], int]:
    return lambda text: len(pattern.findall(text))


def _repetition(text: str) -> float:
    """Share of the runs of three words that came before in the text."""
    words = words_of_answer(text)[:LONGEST]
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


NAMED: Mapping[str, Callable[[str], float]] = {
    "length": lambda text: sum(word[0].isalnum() for word in words_of_answer(text)),
    "refuses": lambda text: bool(_REFUSAL.search(text)),
    "repetition": _repetition,
    "politeness words": _count(_POLITE),
    "hedging words": _count(_HEDGE),
    "speaks of itself": _count(re.compile(r"\b(?:I|me|my|myself)\b")),
    "speaks to the asker": _count(re.compile(r"\byour?\b", re.IGNORECASE)),
    "numbers": _count(re.compile(r"\d+")),
    "words in capitals": _count(re.compile(r"\b[A-Z]{3,}\b")),
    "emoji": _count(_EMOJI),
    "stops in the middle": lambda text: not _ENDED.search(text),
    **FEATURES,
}
"""Features with names; numbers of them, shares, or whether it is so."""


def features_of(
    prompts: Sequence[str], answers: Sequence[str], before: Floats, after: Floats
) -> list[AnswerFeature]:
    """Everything that is counted in these answers and is not the same in all of them.

    Of several that are the same in every answer the first stands for all: a named one, then an
    opening, a closing, and the longest phrase.

    Args:
        prompts: what was asked.
        answers: what was answered.
        before: which answers are of the earlier sample. ``(answers,)`` of 0 and 1
        after: which are of the later one.
    """
    features = [_named(name, [count(text) for text in answers]) for name, count in NAMED.items()]
    echoes = [_echo(prompt, text) for prompt, text in zip(prompts, answers, strict=True)]
    features.append(AnswerFeature("words of the request", np.array(echoes), False))
    features += _found([_WORDS.findall(text)[:LONGEST] for text in answers], before, after)
    distinct: dict[bytes, AnswerFeature] = {}
    for feature in features:
        if np.ptp(feature.counts) > 0:
            distinct.setdefault(_shape(feature.counts), feature)
    return list(distinct.values())


def _named(name: str, counts: Sequence[float]) -> AnswerFeature:
    marks = all(isinstance(count, bool) for count in counts)
    return AnswerFeature(name, np.array(counts, dtype=np.float64), marks)


def _shape(counts: Floats) -> bytes:
    """The same for counts that differ by a factor and a shift alone."""
    if not np.ptp(counts):  # the same in all
        return b""
    scaled = (counts - counts.min()) / np.ptp(counts)
    turned: Floats = np.round(scaled if scaled[0] <= 0.5 else 1 - scaled, 9)
    return bytes(turned.data)


def _echo(prompt: str, answer: str) -> float:
    """Share of the prompt's longer words that the answer has."""
    asked = {word for word in words_of_answer(prompt) if len(word) > 3}
    return len(asked & set(words_of_answer(answer))) / len(asked) if asked else 0.0


# --- phrases found by themselves ------------------------------------------------------------------


def _found(texts: Sequence[Sequence[str]], before: Floats, after: Floats) -> list[AnswerFeature]:
    """Openings, closings and phrases whose share changed most between the two samples.

    Those in the same answers are one: its name is that of the opening or the longest, and how
    often it comes is counted of the one that comes most often.
    """
    counted = [Counter(_phrases([word.lower() for word in words])) for words in texts]
    shift = after / max(after.sum(), 1.0) - before / max(before.sum(), 1.0)
    shares: Counter[str] = Counter()
    for change, phrases in zip(shift.tolist(), counted, strict=True):
        if change:
            for phrase in phrases:
                shares[phrase] += change
    changed = [phrase for phrase, share in shares.items() if abs(share) >= CHANGED - 1e-9]
    changed.sort(key=lambda phrase: (-round(abs(shares[phrase]), 9), *_rank(phrase)))
    together: dict[bytes, list[tuple[str, Floats]]] = {}
    for phrase in changed[:LOOKED_AT]:
        counts = np.array([phrases[phrase] for phrases in counted], dtype=np.float64)
        together.setdefault(_shape(np.minimum(counts, 1)), []).append((phrase, counts))
    features: list[AnswerFeature] = []
    for group in [*together.values()][:PHRASES]:
        phrase, counts = group[0]
        name = _as_written(phrase, texts[int(counts.argmax())])
        features.append(AnswerFeature(name, np.minimum(counts, 1), True, True))
        phrase, counts = max(group, key=lambda one: float(one[1].sum()))
        if counts.max() > 1:
            name = _as_written(phrase, texts[int(counts.argmax())])
            features.append(AnswerFeature(f"{name}, each time", counts, False, True))
    return features


def _phrases(words: Sequence[str]) -> Iterator[str]:
    """Every run of up to :data:`GRAMS` words, by what it is: an opening, a closing, or within."""
    for size in range(1, min(GRAMS, len(words)) + 1):
        yield f"opens with “{_joined(words[:size])}”"
        yield f"closes with “{_joined(words[-size:])}”"
        for at in range(len(words) - size + 1):
            run = words[at : at + size]
            if run[0][0].isalnum() and run[-1][0].isalnum():
                yield f"says “{_joined(run)}”"


def _as_written(phrase: str, words: Sequence[str]) -> str:
    """A phrase with the capitals that it has in an answer."""
    kind, _, said = phrase.removesuffix("”").partition("“")
    text = _joined(words)
    at = text.lower().rfind(said) if kind.startswith("closes") else text.lower().find(said)
    return f"{kind}“{text[at : at + len(said)]}”" if at >= 0 else phrase


def _rank(phrase: str) -> tuple[int, int]:
    """Which of two phrases in the same answers names them: an opening, then the longer one."""
    kinds = ("opens", "closes", "says")
    return kinds.index(phrase.partition(" ")[0]), -len(phrase)


def _joined(words: Sequence[str]) -> str:
    """Words as they are read: no blank before a mark."""
    return re.sub(r" (?=[^\w\s“(\[{])", "", " ".join(words))
