"""What ``wb.verify`` found, as a table to share: Markdown that reads as it stands, too."""

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import workbench
from workbench.progress import duration
from workbench.settings import PPOSettings
from workbench.verbs.plan_memory import MemoryPlan
from workbench.verbs.run_preflight import Preflight

if TYPE_CHECKING:
    from pandas import DataFrame

_Row = dict[str, Any]

UPDATE_COLUMNS = {  # of the updates' table: what it is called, and how it is written
    "step": ("update", "d"),
    "objective/scores": ("score", ".2f"),
    "objective/kl": ("KL, nats", ".3f"),
    "objective/entropy": ("entropy, nats", ".3f"),
    "policy/first_ratio": ("first ratio", ".6f"),
    "policy/clipfrac": ("clip fraction", ".4f"),
    "value/explained_variance": ("explained variance", ".2f"),
    "response/length": ("length, tokens", ".1f"),
    "time/generate": ("generate, s", ".2f"),
    "time/score": ("score, s", ".2f"),
    "time/optimise": ("optimise, s", ".2f"),
    "tokens_per_second": ("sampled tokens/s", ".0f"),
    "skipped_steps": ("skipped steps", ".0f"),  # where there are any
}
MUST_BE_FINITE = (
    "objective/scores",
    "objective/kl",
    "objective/entropy",
    "policy/loss",
    "policy/first_ratio",
    "policy/approxkl",
    "response/length",
)
_SHOWN_UPDATES = 5  # updates of the table
GREEN, RED = "🟢", "🔴"
SMALLEST = 0.01  # of a plan's figures
LONG = 300  # letters of an answer


class VerifiedInputs(NamedTuple):
    """What was verified, in a person's words.

    Attributes:
        model: its name; of a folder the last part, for a shared table tells nothing of a disk.
        reward: what the policy is paid for.
        prompts: how many, and whose.
        changes: what was set otherwise than by default.
    """

    model: str
    reward: str
    prompts: str
    changes: str


class Verified:
    """Plan, preflight and first updates of a PPO run; in a notebook and a shell a table to share.

    Attributes:
        inputs: what was verified.
        plan: what it takes in memory, as planned.
        preflight: what must hold; None where it was not come to.
        rows: an update's metrics each; as far as it came.
        samples: what it answered to one prompt at first and at last.
        notices: what a person should be told of how it ran.
        run: the run's config: what was loaded, and on what.
        seconds: what each of the three took.
        planned: seconds that the updates were thought to take; 0 where nothing was known.
        out_of_time: whether the time was over before all updates were made.
        stopped: what ended early; empty where nothing did.
        log: what was said then.
    """

    def __init__(
        self,
        inputs: VerifiedInputs,
        plan: MemoryPlan,
        settings: PPOSettings,
        seconds: dict[str, float],
    ) -> None:
        self.inputs, self.plan, self.settings, self.seconds = inputs, plan, settings, seconds
        self.preflight: Preflight | None = None
        self.rows: list[_Row] = []
        self.samples: list[_Row] = []
        self.notices: list[str] = []
        self.run: dict[str, Any] = {}
        self.planned, self.out_of_time = 0.0, False
        self.stopped = self.log = ""

    @property
    def updates(self) -> "DataFrame":
        """All metrics, a row an update."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @property
    def finite(self) -> bool:
        """Whether every update came, with numbers in it; in a run folder a NaN is a null.

        Where the time was over, those that came before.
        """
        value = ("value/loss",) if self.settings.advantage == "gae" else ()
        numbers = [row.get(name) for row in self.rows for name in MUST_BE_FINITE + value]
        came = len(self.rows) == self._steps or (self.out_of_time and bool(self.rows))
        return came and all(n is not None for n in numbers)

    @property
    def ratio(self) -> float:
        """The first ratio of the update where it is furthest from 1; NaN where there is none."""
        ratios = [row["policy/first_ratio"] for row in self.rows]
        known = [value for value in ratios if value is not None]
        return max(known, key=lambda value: abs(value - 1), default=math.nan)

    @property
    def passed(self) -> bool:
        """Whether all checks hold, and every update is finite and began at a ratio of 1."""
        from workbench.runs.alarms import RATIO_OFF

        checked = self.preflight is not None and self.preflight.passed
        return checked and self.finite and abs(self.ratio - 1) <= RATIO_OFF

    @property
    def verdict(self) -> str:
        """What was found, in a few words."""
        plan = self.plan
        sizes = f"{plan.peak_gb:.2f} GB are planned and {plan.free_gb:.2f} GB are free"
        clauses = [] if plan.fits else [f"nothing was loaded: {sizes}"]
        if self.preflight is not None:
            red = sum(not check["passed"] for check in self.preflight.checks)
            count = len(self.preflight.checks)
            clauses.append(f"{red} of {count} checks failed" if red else f"all {count} checks hold")
        if self.rows:
            clauses.append(self._updates_verdict())
        if self.out_of_time:
            clauses.append(f"the time was over after {len(self.rows)} of {self._steps} updates")
        if self.stopped:
            clauses.append(self.stopped)
        return "; ".join(clauses)

    def _updates_verdict(self) -> str:
        first, last = (self.rows[i].get("objective/scores") for i in (0, -1))
        moved = "" if None in (first, last) else f", the score from {first:.2f} to {last:.2f}"
        count = f"{len(self.rows)} of {self._steps} updates"
        numbers = "all finite" if self.finite else "NOT all there and finite"
        ratio = f"first ratio {self.ratio:.6f} where it is furthest from 1"
        return f"{count}, {numbers}{moved}, {ratio}"

    @property
    def _steps(self) -> int:
        """Updates that were asked for; $WORKBENCH_QUICK may have cut them."""
        settings: dict[str, Any] = self.run.get("settings", {})
        return int(settings.get("steps", self.settings.steps))

    @property
    def shown_plan(self) -> str:
        """The updates that are planned, in words: "6 updates of 8 answers, about 3 min"."""
        steps, size = self.settings.steps, self.settings.batch_size
        updates = f"{steps} update{'s' if steps > 1 else ''} of {size} answers"
        return f"{updates}, about {duration(self.planned)}" if self.planned else updates

    @property
    def markdown(self) -> str:
        """The table to share."""
        parts = [
            f"## {'Verified' if self.passed else 'Not verified'}: {self.inputs.model}",
            f"{self.verdict}.",
            *([f"````\n{self.log}\n````"] if self.log else []),
            table(["what", "found"], self._facts()),
            f"### Memory planned, {_unit(self.plan)[0]}",
            _plan_table(self.plan),
            self._memory(),
        ]
        if self.preflight is not None:
            parts += ["### Preflight", _checks_table(self.preflight)]
        if self.rows:
            parts += ["### Updates", _updates_table(self.rows)]
        if self.samples:
            parts += ["### One prompt, first and last", _answers_table(self.samples)]
        return "\n\n".join(parts) + "\n"

    def _facts(self) -> list[list[str]]:
        planned, loaded = self.plan.facts, self.run.get("resolved", {})
        hardware: Mapping[str, Any] = self.run.get("hardware") or planned.get("hardware", {})
        versions = {"workbench": workbench.__version__, "Python": hardware.get("python", "?")}
        versions |= hardware.get("versions", {})
        took = ", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items())
        dtype = loaded.get("dtype", planned["dtype"])
        quantization = loaded.get("quantization", planned["quantization"])
        facts = {
            "machine": machine(hardware, planned["device"]),
            "model": f"{self.inputs.model}, base in {quantization}, computing in {dtype}",
            "reward": self.inputs.reward,
            "prompts": self.inputs.prompts,
            "settings": self.inputs.changes,
            "updates": self.shown_plan if self.preflight is not None else "",
            "trained": _trained(loaded),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "seconds": took,
            "notices": "; ".join(dict.fromkeys(self.notices)),
        }
        return [[name, value] for name, value in facts.items() if value]

    def _memory(self) -> str:
        plan, (unit, many) = self.plan, _unit(self.plan)
        verdict = "it fits" if plan.fits else f"it does not fit; {plan.advice}"
        planned = (
            f"Planned for the longest prompts and answers: {plan.peak_gb * many:.2f} {unit} at the "
            f"peak, {plan.free_gb:.2f} GB free: {verdict}."
        )
        peaks = [row["memory/peak_gb"] for row in self.rows if row.get("memory/peak_gb")]
        if not peaks:
            return planned
        measured = f"the updates took at most {max(peaks):.2f} GB"
        if plan.facts["device"] != "cuda":
            measured = f"their process took {max(peaks):.2f} GB, Python and its libraries included"
        return (
            f"{planned} Measured in the updates, whose prompts may be shorter: {measured}. The "
            "longest micro-batch is measured by the last check."
        )

    def save(self, path: str | Path) -> Path:
        """Write the table to a file."""
        Path(path).write_text(self.markdown, encoding="utf-8")
        return Path(path)

    def __repr__(self) -> str:
        return self.markdown

    def _repr_markdown_(self) -> str:
        return self.markdown


def machine(hardware: Mapping[str, Any], device: str) -> str:
    """The card, or the processor, in words."""
    if device == "cuda":
        return str(hardware.get("gpu") or "a CUDA card")
    cores = f"{hardware.get('cpu_cores', '?')} cores, no GPU used"
    return f"{hardware['cpu']}, {cores}" if hardware.get("cpu") else f"CPU, {cores}"


def _trained(loaded: Mapping[str, Any]) -> str:
    """How many weights learn, and how fast."""
    rates = {
        "learning rate": loaded.get("learning_rate"),
        "of the value model": loaded.get("value_learning_rate"),
    }
    figures = [f"{name} {rate:.3g}" for name, rate in rates.items() if rate is not None]
    return ", ".join([f"{loaded['trainable']:,} weights", *figures]) if loaded else ""


def shown(count: int) -> list[int]:
    """Which of so many updates a table shows: the first, the last, and some between them."""
    quarter = count / (_SHOWN_UPDATES - 1)
    numbers = {1, *(round(quarter * i) for i in range(1, _SHOWN_UPDATES))} if count else set[int]()
    return sorted(number for number in numbers if number >= 1)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other in plain text, too."""
    cells = [[_cell(text) for text in row] for row in (heads, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    rule = ["-" * width for width in widths]
    padded = [
        [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        for row in (cells[0], rule, *cells[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def _cell(text: str) -> str:
    """On one line; a bar ends no cell, and nothing becomes an element of a page."""
    return re.sub(r"\||<(?=[A-Za-z/!?])", r"\\\g<0>", " ".join(text.split()))


def _plain(text: str) -> str:
    """What a model wrote, without effect in Markdown; bars are left to :func:`_cell`."""
    return re.sub(r"[\\`*_\[\]!#&~$]", r"\\\g<0>", textwrap.shorten(text, LONG))


def _unit(plan: MemoryPlan) -> tuple[str, int]:
    """What a plan is written in, and how many of it are a GB."""
    return ("GB", 1) if plan.peak_gb >= 1 else ("MB", 1000)


def _plan_table(plan: MemoryPlan) -> str:
    frame = plan.frame * _unit(plan)[1]
    rows = [
        [str(part), *map(_size, sizes)]
        for part, sizes in zip(frame.index, frame.to_numpy().tolist(), strict=True)
    ]
    rows[-1] = [f"**{text}**" for text in rows[-1]]
    return table(["part", *map(str, frame.columns)], rows)


def _size(size: float) -> str:
    if not size:
        return ""
    return f"{size:.2f}" if size >= SMALLEST else f"< {SMALLEST}"


def _checks_table(preflight: Preflight) -> str:
    rows = preflight.rows({True: GREEN, False: RED})
    most = 3 if preflight.passed else 4  # nothing is to be done
    return table(["", "check", "found", "what to do"][:most], [row[:most] for row in rows])


def _updates_table(rows: Sequence[_Row]) -> str:
    names = [name for name in UPDATE_COLUMNS if any(row.get(name) is not None for row in rows)]
    if not any(row.get("skipped_steps") for row in rows):
        names = [name for name in names if name != "skipped_steps"]
    cells = [
        [_figure(rows[number - 1].get(name), UPDATE_COLUMNS[name][1]) for name in names]
        for number in shown(len(rows))
    ]
    return table([UPDATE_COLUMNS[name][0] for name in names], cells)


def _figure(value: float | None, how: str) -> str:
    return "not finite" if value is None else format(value, how)


def _answers_table(samples: Sequence[_Row]) -> str:
    known = (samples[0], samples[-1])
    rows = [[str(row["step"]), f"{row['score']:.2f}", _plain(row["response"])] for row in known]
    return table(["update", "score", _plain(str(known[0]["prompt"]))], rows)
