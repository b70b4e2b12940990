"""What a reward score is made of, token by token: a heat map to read, for one answer or several."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.html_table import Html, table
from workbench.widgets.kit.theme import OKABE_ITO

if TYPE_CHECKING:
    from pandas import DataFrame

NAMED = 5  # tokens that are said in words
_CELL = "style='text-align:left;vertical-align:top;padding:2px 12px 2px 0'"
_QUIET = "<span style='opacity:0.75'>"
_NUMBER = "style='text-align:right;vertical-align:top;padding:2px 12px 2px 0'"


class ScoreParts:
    """The reward score of one answer to a prompt, or of several, as a sum over their tokens.

    Attributes:
        answers: of each ``texts``, ``parts``, ``errors``, ``score``, ``empty``, ``together`` and
            ``sentences``, as the job tells them. [reward points]
    """

    def __init__(self, answers: Sequence[Mapping[str, Any]]) -> None:
        self.answers = [dict(answer) for answer in answers]

    @property
    def gaps(self) -> list[float]:
        """For each answer: the sum of its parts, less its score beyond that of an empty answer."""
        return [sum(a["parts"]) - (a["score"] - a["empty"]) for a in self.answers]

    @property
    def frame(self) -> "DataFrame":
        """One row a token: answer, token, part, error, and the number of its sentence."""
        from workbench.table_frame import TableFrame

        rows = [
            {
                **{"answer": number, "token": text, "part": part, "error": error},
                "sentence": _sentence_of(answer, at),
            }
            for number, answer in enumerate(self.answers)
            for at, (text, part, error) in enumerate(
                zip(answer["texts"], answer["parts"], answer["errors"], strict=True)
            )
        ]
        return TableFrame(rows, columns=["answer", "token", "part", "error", "sentence"])

    def __repr__(self) -> str:
        shown = list[str]()
        for answer, gap in zip(self.answers, self.gaps, strict=True):
            shown.append(f"score {_signed(answer['score'])} = {_sums(answer, gap)}")
            shown.append(f"  most: {_strongest(answer)}")
            for text, parts, alone in _by_sentence(answer):
                shown.append(f"  {parts} (left out by itself: {alone})  {text}")
        return "\n".join(shown)

    def _repr_html_(self) -> str:
        most = max((abs(p) for a in self.answers for p in a["parts"]), default=0.0)
        shown = "".join(
            f"<div style='flex:1 1 320px;min-width:0'>{_drawn(answer, gap, most)}</div>"
            for answer, gap in zip(self.answers, self.gaps, strict=True)
        )
        legend = f"{_coloured(_signed(-most), -1.0)} 0 {_coloured(_signed(most), 1.0)}"
        return (
            f"<div style='font-size:13px;display:flex;flex-wrap:wrap;gap:16px'>{shown}</div>"
            f"<p style='font-size:12px;margin:6px 0 0'>Each token's part of the "
            f"score, in reward points: {legend}; solid below: it raises the score, dotted: it "
            "lowers it. A part is what the score loses when the token is taken away, the mean over "
            "orders in which all are taken away one after another.</p>"
        )


def _drawn(answer: Mapping[str, Any], gap: float, most: float) -> str:
    marks = "".join(
        _coloured(text, part / most if most else 0.0, f"{_signed(part)} ± {error:.2f}")
        for text, part, error in zip(
            answer["texts"], answer["parts"], answer["errors"], strict=True
        )
    )
    rows = _by_sentence(answer)
    heads = ("sentence", "its parts", "left out by itself")
    style = "style='border-collapse:collapse;font-size:12px'"
    checked = table(rows, [_CELL, _NUMBER, _NUMBER], heads=heads, attributes=style) if rows else ""
    return (
        f"<p style='margin:0 0 4px'><b style='font-size:20px'>{_signed(answer['score'])}</b> "
        f"{_QUIET}reward score: {escape(_sums(answer, gap))}</span></p>"
        f"<p style='margin:0 0 4px;white-space:pre-wrap;line-height:1.7'>{marks}</p>"
        f"<p style='margin:0 0 8px'>{_QUIET}most:</span> {escape(_strongest(answer))}</p>{checked}"
    )


def _coloured(text: str, share: float, title: str = "") -> Html:
    """A token whose colour and line say how much it adds (blue) or takes (orange), -1 to 1."""
    colour = OKABE_ITO["blue" if share >= 0 else "orange"]
    alpha = f"{round(abs(share) * 120):02x}"
    line = "solid" if share >= 0 else "dotted"
    style = f"background:{colour}{alpha};border-bottom:2px {line} {colour}{alpha}"
    return Html(f"<span style='{style}' title='{escape(title)}'>{escape(text)}</span>")


def _sums(answer: Mapping[str, Any], gap: float) -> str:
    together = answer["together"]
    joined = f"; {together} tokens at a time" if together > 1 else ""
    left = f" ({abs(gap):.2f} not told by them)" if abs(gap) >= 0.005 else ""
    return (
        f"{_signed(answer['empty'])} without a word, "
        f"{_signed(sum(answer['parts']))} by its tokens{left}{joined}"
    )


def _strongest(answer: Mapping[str, Any]) -> str:
    named = sorted(zip(answer["parts"], answer["texts"], strict=True), key=lambda own: -abs(own[0]))
    words = (f"“{text.strip() or '␣'}” {_signed(part)}" for part, text in named[:NAMED])
    return ", ".join(words)


def _by_sentence(answer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Each sentence, the sum of its parts, and what the score loses where it alone is left out."""
    return [
        (
            "".join(answer["texts"][one["first"] : one["end"]]).strip(),
            _signed(sum(answer["parts"][one["first"] : one["end"]])),
            _signed(answer["score"] - one["without"]),
        )
        for one in answer["sentences"]
    ]


def _sentence_of(answer: Mapping[str, Any], at: int) -> int:
    spans = [(one["first"], one["end"]) for one in answer["sentences"]]
    return next((i for i, (first, end) in enumerate(spans) if first <= at < end), 0)


def _signed(value: float) -> str:
    return "0.00" if abs(value) < 0.005 else f"{value:+.2f}".replace("-", "−")
