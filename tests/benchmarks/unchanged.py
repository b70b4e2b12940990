"""What a change of the code's inside must leave as it is: recorded in one checkout, then compared.

A large rearrangement begins with a record of the checkout before it, made by this very script
(copy it over where that checkout has none), and ends with a comparison in the checkout after it:

    git worktree add ../before COMMIT
    cp tests/benchmarks/unchanged.py ../before/tests/benchmarks/
    python ../before/tests/benchmarks/unchanged.py record /tmp/before.json
    python tests/benchmarks/unchanged.py compare /tmp/before.json

Both take the same environment and machine; ``workbench`` is that of the checkout in which the
script lies. ``compare`` runs everything again (some five minutes on two cores), prints a line an
item, and exits with 1 where one differs; ``--only PART ...`` takes some parts, ``--texts FOLDER``
writes what differs, before and after, to be looked at with other tools.

Recorded are, on the embedded model: runs of every kind (metrics, samples, events, config, hashes of
``final/``), every written format from a pairs file and from a label store, every report as text,
HTML, tables and figures, the public names and the commands' help. Only ``import workbench as wb``
and ``python -m workbench`` are used, so that files and inner names may move. Numbers are compared
to the last digit. What the clock, the memory or the place on disk decides is taken out by the named
rules below (``CLOCK``, ``RULES``, ``Book.placed``) and by nothing else.
"""

import argparse
import difflib
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import workbench as wb  # noqa: E402

CHAT, BASE = "builtin:tiny-chat", "builtin:tiny-base"
PACKAGES = (
    *("torch", "transformers", "tokenizers", "safetensors", "peft", "bitsandbytes", "accelerate"),
    *("numpy", "pandas", "pyarrow", "plotly", "statsmodels", "krippendorff", "ipython", "rich"),
)
LONGEST = 200_000  # letters of a text that is kept beside its hash
SHOWN = 6  # places of a difference that are printed
WIDE = 160  # letters of each

# --- what is taken out, and why -------------------------------------------------------------------

CLOCK = re.compile(r"time|time/.*|tokens_per_second|pairs_per_second|memory/.*")
"""Names of metrics, of fields of events and of curves that the clock or the memory decides."""
UNSURE = ("created", "hardware")
"""Fields of config.json: when a run was made, and on what; the latter is in ``about``."""


class Rule(NamedTuple):
    """A pattern in a text, what is put in its place, and why."""

    why: str
    pattern: str
    instead: str


RULES = {
    "minute": Rule(
        "when a page was written", r"Written \d{4}-\d\d-\d\d \d\d:\d\d;", "Written <minute>;"
    ),
    "created": Rule("when a run was made", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "<created>"),
    "duration": Rule("how long a run took", r"( steps · )\d+( s</p>)", r"\1<seconds>\2"),
    "mark": Rule("joins a still picture to its view", r"(data-panel=')[0-9a-f]{8}'", r"\1<mark>'"),
    "version": Rule(
        "of the workbench, in a manifest and in verify's table",
        r'("workbench": ?"|\| versions +\| workbench )[\w.]+',
        r"\1<version>",
    ),
    "progress": Rule(
        "a run's lines on a terminal come by the clock",
        r"(?m)^[\w-]+: (?:starting|running|finished)  .*\n",
        "",
    ),
    "seconds": Rule(
        "how long the whole loop took",
        r'("seconds": |>Time</th><td class=\'wb-num\'>)[\d.]+',
        r"\1<seconds>",
    ),
    "stages": Rule(
        "what the stages of verify took, in seconds",
        r"(?m)^(\| seconds +\| ).*\|$",
        r"\1<seconds> |",
    ),
    "free": Rule("memory that was free", r"[\d.]+ GB( are)? free", r"<free> GB\1 free"),
    "process": Rule(
        "memory that a process took", r"(their process took )[\d.]+ GB", r"\1<memory> GB"
    ),
}
"""By name; which rules are applied to an item stands where the item is kept."""

TIMED_COLUMNS = ("generate, s", "score, s", "optimise, s", "sampled tokens/s")
"""Columns of verify's table of updates."""


def timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a run's file without what the clock or the memory decides."""
    return {name: value for name, value in row.items() if not CLOCK.fullmatch(name)}


def without_timed_columns(markdown: str) -> str:
    """A Markdown table whose timed columns hold a word in the place of each figure."""
    timed: list[int] = []
    lines: list[str] = []
    for line in markdown.split("\n"):
        cells = line.split("|")
        heads = [place for place, cell in enumerate(cells) if cell.strip() in TIMED_COLUMNS]
        timed = heads or (timed if line.startswith("|") else [])
        for place in timed:
            if cells[place].strip(" -.0123456789") == "" and not heads:
                cells[place] = re.sub(r"[\d.]+", "#", cells[place]).ljust(len(cells[place]))
        lines.append("|".join(cells))
    return "\n".join(lines)


# --- the book of items ----------------------------------------------------------------------------


class Book:
    """What was found, by item: a hash of its text, and the text where it is not too long.

    Args:
        work: the folder that everything is made in.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.part = ""
        self.items: dict[str, dict[str, Any]] = {}
        self.replaced: Counter[str] = Counter()

    def placed(self, text: str) -> str:
        """A text with the folders of this checkout and of this recording by name."""
        places = {"<sample>": wb.sample_dir(), "<work>": self.work, "<checkout>": ROOT}
        for name, folder in places.items():
            self.replaced["place"] += text.count(str(folder))
            text = text.replace(str(folder), name)
        return text

    def keep(self, item: str, text: str, *rules: str) -> None:
        """Keep a text under an item's name, after the rules of these names.

        Raises:
            RuntimeError: there is another text under this name.
        """
        text = self.placed(text)
        for name in rules:
            rule = RULES[name]
            text, times = re.subn(rule.pattern, rule.instead, text)
            self.replaced[name] += times
        found = {"sha256": digest(text.encode("utf-8", "surrogatepass")), "part": self.part}
        if len(text) <= LONGEST:
            found["text"] = text
        if self.items.setdefault(item, found)["sha256"] != found["sha256"]:
            raise RuntimeError(f"there are two texts for {item}")

    def rows(self, item: str, path: Path) -> None:
        """Keep a run's file of JSON lines, without what the clock decides."""
        rows = [timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        self.keep(item, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def folder(self, item: str, folder: Path, *rules: str) -> None:
        """Keep the hashes of all files of a folder, and what its short texts say."""
        lines: list[str] = []
        texts: list[str] = []
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name, data = path.relative_to(folder).as_posix(), path.read_bytes()
            if path.suffix in (".json", ".md", ".jinja") and path.name != "tokenizer.json":
                data = self.placed(data.decode("utf-8")).encode("utf-8")
                texts.append(f"=== {name}\n{data.decode('utf-8')}")
            lines.append(f"{digest(data)} {len(data)} {name}")
        self.keep(f"{item} hashes", "\n".join(lines), *rules)
        self.keep(f"{item} texts", "\n".join(texts), *rules)


def digest(data: bytes) -> str:
    """The SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


# --- what a notebook and a shell show -------------------------------------------------------------


def shown(thing: object) -> str:
    """What a notebook shows of an object, live views left out: texts by their kind."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display
    from IPython.utils.capture import capture_output
    from traitlets.config import Config

    InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    with capture_output() as captured:
        display(thing)
    told: list[str] = []
    for output in captured.outputs:
        is_live = any("widget" in kind for kind in output.data)
        for kind in ("text/plain", "text/html", "text/markdown"):
            if kind in output.data and not (is_live and kind == "text/plain"):
                told.append(f"=== {kind}\n{output.data[kind]}")
    return "\n".join(told)


def tables(found: object) -> str:
    """A table, or several by name, as CSV."""
    if not isinstance(found, Mapping):
        return found.to_csv()  # pyright: ignore
    return "\n".join(f"=== {name}\n{table.to_csv()}" for name, table in found.items())


def figures(drawn: Mapping[str, Any]) -> str:
    """Plotly figures as JSON, by name."""
    return "\n".join(f"=== {name}\n{drawn[name].to_json()}" for name in drawn)


def error_of(call: Callable[[], object]) -> str:
    """What a call returns as text, or the error that it ends in."""
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class Pages:
    """Report pages: the page, its data, and once for all the style and the scripts."""

    PIECE = re.compile(r"<(style|script)([^>]*)>(.*?)</\1>", re.S)

    def __init__(self, book: Book) -> None:
        self.book = book

    def keep(self, item: str, path: Path, *rules: str) -> None:
        """Keep a page by its parts."""
        page = path.read_text("utf-8")
        for kind, how, text in self.PIECE.findall(page):
            if "json" in how:
                self.book.keep(f"{item}: data of the curves", self._data(text))
            else:
                what = "style" if kind == "style" else "script" if "module" in how else "plotly"
                self.book.keep(f"every page: {what}", text)
        bare = self.PIECE.sub(r"<\1\2></\1>", page)
        self.book.keep(f"{item}: page", bare, "minute", "created", "duration", *rules)

    @staticmethod
    def _data(text: str) -> str:
        runs = [{**run, "curves": timeless(run["curves"])} for run in json.loads(text)]
        return json.dumps(runs, indent=1, ensure_ascii=False)


# --- what is worked on ----------------------------------------------------------------------------


def user(text: str) -> dict[str, str]:
    """A message of a person."""
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    """A message of a model."""
    return {"role": "assistant", "content": text}


def mixed_pairs() -> Any:
    """Pairs of every kind of label and of many shapes."""
    plain = [[assistant("Good morning.")], [assistant("Go away.")]]
    turns = [
        {"role": "system", "content": "Be brief."},
        *(user("Hello"), assistant("Hello."), user("What is a goat?")),
    ]
    several = [[assistant("One."), user("And?"), assistant("Two.")], [assistant("One. Two.")]]
    blanks = [[assistant("  A dog.\n")], [assistant("\tA cat, and\n\nmore.  ")]]
    four = [[assistant(f"{n} tools: saw, spade.")] for n in ("Two", "Three", "Four", "Five")]
    greet = "Greet me."

    def choice(winner: int, **more: Any) -> dict[str, Any]:
        return {"kind": "choice", "winner": winner, "strength": None, **more}

    cases: list[tuple[Any, Any, Any]] = [
        ([user(greet)], plain, choice(0)),
        ([user(f"{greet} Now.")], plain, choice(1, strength=2)),
        ([user(f"{greet} Please.")], plain, choice(0, margin=1.5)),
        ([user(f"{greet} Soon.")], plain, {"kind": "tie"}),
        ([user(f"{greet} Never.")], plain, {"kind": "both_bad"}),
        ([user(f"{greet} Or not.")], plain, None),
        (turns, plain, choice(1, agreement=0.5)),
        (turns, several, choice(0, agreement=1.0)),
        ([user(" Name an animal. ")], blanks, choice(1)),
        ([user("Größe? 你好 <b>&amp;</b> \u2028 | `x`")], plain, choice(0, annotator="eva")),
        ([user("\n\nHuman: a role\n\nAssistant: in a text")], plain, choice(0)),
        ([user("List tools.")], four, {"kind": "rank", "ranks": [2, 1, 3, 3]}),
        ([user("List more tools.")], four, {"kind": "scores", "scores": [0.5, None, 2.0, -1.0]}),
        ([user("List all tools.")], four, choice(2, strength=3)),
    ]
    return wb.Pairs.from_items(
        wb.Pair.make(
            *(prompt, responses),
            label=label,
            source={"dataset": f"mixed {number % 3}"},
            meta={"number": number},
        )
        for number, (prompt, responses, label) in enumerate(cases)
    )


def few_tools(prompts: list[Any], responses: list[str]) -> list[float]:
    """A reward function: short answers, and some of the prompt's letters."""
    pairs = zip(prompts, responses, strict=True)
    return [len(p[-1]["content"]) / 100 - len(text.split()) / 50 for p, text in pairs]


class Clock:
    """Seconds since 1970 that go on only when they are told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def on(self, seconds: float) -> None:
        """Let some seconds go by."""
        self.now += seconds


def judge(session: Any, clock: Clock, who: str, shift: int) -> None:
    """One person's way through a session: every action in turn, with event ids of our own."""
    number = 0
    while (item := session.current()) is not None and item.decided is None:
        clock.on(3.5)
        number += 1
        ident, turn, many = f"{who}-{number:03}", (number + shift) % 11, len(item.responses) > 2
        if turn == 3:
            session.flag("odd", event_id=f"{ident}-flag")
            session.note("to be <looked> at", event_id=f"{ident}-note")
        if turn == 4:
            session.skip(event_id=ident)
        elif turn == 5:
            text = item.responses[0][-1]["content"].strip()
            session.edit(0 if many else "left", f"{text} Indeed.", event_id=ident)
        elif many:
            places = [[3, 1], 0, 2] if turn % 2 else [1, 0, 2, 3]
            session.rank(places, event_id=ident)
        elif turn in (6, 7):
            session.choose("tie" if turn == 6 else "both_bad", event_id=ident)
        else:
            session.choose("right" if turn % 3 else "left", 1 + turn % 3, event_id=ident)
        clock.on(4.25)
        if turn == 8:
            session.undo(event_id=f"{ident}-undo")
            clock.on(1.0)
            session.redo(event_id=f"{ident}-redo")
        if turn == 9 and not (item.position % 2):
            session.undo(event_id=f"{ident}-undo")


class Made:
    """What the parts share, each made when it is first asked for: data, label store, runs.

    Args:
        work: the folder that everything is made in.
        formats: the written formats that are known from a record; more may be found.
    """

    def __init__(self, work: Path, formats: list[str]) -> None:
        self.work = work
        self.known = formats
        self.mixed = mixed_pairs()
        self.train = wb.load_pairs("sample:pairs_train")[:200]
        self.heldout = wb.load_pairs("sample:pairs_heldout")[:80]
        self.prompts = wb.load_prompts("sample:prompts_ppo")[:40]
        self._errors: dict[str, Exception] = {}

    def command(self, *arguments: str, **env: str) -> str:
        """What a command says, and how it ends.

        Raises:
            RuntimeError: it ended in a traceback.
        """
        done = subprocess.run(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=self.work,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
        )
        if "Traceback (most recent call last)" in done.stderr:
            raise RuntimeError(f"workbench {' '.join(arguments)}:\n{done.stderr}")
        asked = f"$ workbench {' '.join(arguments)}"
        return f"{asked}\n{done.stdout}{done.stderr}exit {done.returncode}\n"

    @cached_property
    def formats(self) -> list[str]:
        """The formats that ``workbench export`` writes, as its help and its refusal name them."""
        pairs = self.mixed.save(self.work / "any.jsonl")
        no_such = self.command("export", pairs.name, "--format", "nothing", "--out", "no.jsonl")
        named = re.findall(r"(?:use one of|choose from)\W+(.*)", no_such)
        names = re.findall(r"[a-z]+(?:-[a-z]+)*", named[-1]) if named else []
        return list(dict.fromkeys([*self.known, *names]))

    @cached_property
    def clock(self) -> Clock:
        """The clock of all labelling."""
        return Clock()

    @cached_property
    def store(self) -> Any:
        """A label store in which two people judged, one of them with repeats and gold items."""
        store = wb.LabelStore(self.work / "labels.sqlite")
        extra = wb.load_pairs("sample:unlabelled")[:12]
        pairs = wb.Pairs.from_items([*self.mixed, *extra])
        wishes = {"strength": 3, "overlap": None, "clock": self.clock}
        for who, shift, more in (
            ("ada", 0, {"repeats": 0.2, "gold": self.heldout[:4]}),
            ("bob", 4, {"order": "random", "seed": 5}),
        ):
            session = wb.LabelSession(pairs, store, annotator=who, **wishes, **more)
            judge(session, self.clock, who, shift)
            session.close()
        return store

    @cached_property
    def trained(self) -> dict[str, Any]:
        """The runs, one after another; one that fails is told of when it is asked for."""
        learned: dict[str, Any] = {"batch_size": 16, "checkpoint_every": 2, "keep_checkpoints": 1}
        played: dict[str, Any] = {
            "batch_size": 8,
            "response_length": 24,
            "watch_every": 2,
            "watch_prompts": 2,
        }
        played |= {"mini_batches": 2, "epochs": 2}
        pairs = wb.Pairs.from_items([*self.train, *self.mixed])
        found: dict[str, Any] = {}
        makers: dict[str, Callable[[], Any]] = {
            "sft": lambda: wb.train_sft(
                CHAT, wb.load_examples("sample:instructions")[:96], steps=5, batch_size=8
            ),
            "texts": self._texts,
            "reward": lambda: wb.train_reward(
                *(CHAT, pairs), name="reward", steps=6, evaluate_every=2, ties="half", **learned
            ),
            "members": lambda: wb.train_reward(
                *(CHAT, self.train),
                name="members",
                steps=6,
                members=2,
                normalise="samples",
                batch_size=16,
                evaluate_every=1,
                learning_rate=0.03,
                keep_best=False,
            ),
            "ppo adapter": lambda: wb.train_ppo(
                *(CHAT, found["reward"], self.prompts),
                name="ppo-adapter",
                steps=10,
                heldout_reward=found["members"],
                keep_best=True,
                **played,
            ),
            "ppo shared": lambda: wb.train_ppo(
                *(CHAT, [found["reward"], found["members"]], self.prompts),
                name="ppo-shared",
                steps=4,
                value="shared",
                reward_reduce="mean_minus_std",
                checkpoint_every=2,
                kl_control="adaptive",
                **played,
            ),
            "ppo group": lambda: wb.train_ppo(
                *(CHAT, {found["reward"]: 1.0, few_tools: 0.5}, self.prompts),
                name="ppo-group",
                steps=4,
                advantage="group",
                samples_per_prompt=4,
                score_normalisation="batch",
                quantization="none",
                **played,
            ),
        }
        for name, make in makers.items():
            try:
                found[name] = make().wait(progress=False)
            except Exception as error:
                self._errors[name] = error
        return found

    def run(self, name: str) -> Any:
        """One of the runs.

        Raises:
            RuntimeError: it could not be trained.
        """
        if name not in self.trained:
            why = self._errors.get(name)
            raise RuntimeError(f"the run {name!r} is not there: {why!r}") from why
        return self.trained[name]

    def _texts(self) -> Any:
        """Next-token training of the base model, by the command line."""
        rows = wb.load_examples("sample:texts")[:60]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (self.work / "texts.jsonl").write_text(lines, "utf-8")
        asked = ("sft", "--model", BASE, "--data", "texts.jsonl", "--out", "runs/texts")
        self.command(*asked, "--set", "steps=4", "batch_size=8", "lora_rank=4")
        return wb.open_run(self.work / "runs" / "texts")


# --- the parts ------------------------------------------------------------------------------------


def names(book: Book, made: Made) -> None:
    """Public names with what they take, and the commands' help."""
    lines: list[str] = []
    for name in sorted(wb.__all__):
        thing = getattr(wb, name)
        lines.append(signature(name, thing))
        if inspect.isclass(thing):
            members = [m for m in dir(thing) if not m.startswith("_")]
            lines += [signature(f"{name}.{m}", getattr(thing, m)) for m in members]
    book.keep("public names", "\n".join(lines))
    top = made.command("--help")
    book.keep("help", top)
    for command in re.findall(r"(?m)^    ([a-z][a-z-]+)(?: |$)", top):
        book.keep(f"help of {command}", made.command(command, "--help"))


def signature(name: str, thing: object) -> str:
    """A name with its parameters and their defaults, without types."""
    try:
        parameters = inspect.signature(thing).parameters.values()  # pyright: ignore
    except (TypeError, ValueError):
        return name
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return f"{name}({', '.join(map(str, bare))})"


def data(book: Book, made: Made) -> None:
    """Reading: pairs with their report, prompts, examples; the judge; quality."""
    book.keep("load_pairs: report", shown(made.train.report))
    book.keep("load_pairs: rows", made.train.save(made.work / "train.jsonl").read_text("utf-8"))
    book.keep("load_pairs: training rows", json.dumps(made.mixed.training_rows(), indent=1))
    book.keep("load_prompts", json.dumps(made.prompts))
    book.keep("load_examples", json.dumps(wb.load_examples("sample:instructions")[:20]))
    items: Any = made.heldout
    scores = [[wb.gold_score(pair.prompt, r) for r in pair.responses] for pair in items]
    book.keep("gold_score", json.dumps(scores))
    asked = ("import", "any.jsonl", "--out", "in.jsonl", "--report", "in.json")
    made.mixed.save(made.work / "any.jsonl")
    said = made.command(*asked)
    made_files = [(made.work / name).read_text("utf-8") for name in ("in.jsonl", "in.json")]
    book.keep("import", "\n".join([said, *made_files]))
    explorer = wb.loss_explorer()
    book.keep("loss_explorer", f"{shown(explorer)}\n{tables(explorer.frame)}")
    pairs = wb.Pairs.from_items([*made.train, *made.mixed, *made.train[:5]])
    against = wb.Pairs.from_items([*made.heldout, *made.train[:3]])
    _quality(book, "quality of pairs", wb.quality(pairs, against))
    _quality(book, "quality of labels", wb.quality(made.store))


def _quality(book: Book, item: str, found: Any) -> None:
    book.keep(f"{item}: shown", shown(found))
    book.keep(f"{item}: frames", f"{tables(found.summary)}\n{tables(found.frames)}")
    book.keep(f"{item}: figures", figures(found.figures))


def labels(book: Book, made: Made) -> None:
    """A label store: its events, what stands, who labelled, what is trained on; the queue."""
    store = made.store
    for name in ("events", "labels", "annotators"):
        book.keep(f"labels: {name}", tables(getattr(store, name)()))
    for ties in ("drop", "keep"):
        path = store.pairs(ties=ties).save(made.work / f"labelled-{ties}.jsonl")
        book.keep(f"labels: pairs, ties={ties}", path.read_text("utf-8"))
    session = wb.LabelSession(made.mixed, store, annotator="ada", clock=made.clock)
    book.keep("labels: progress", json.dumps(session.progress()))
    book.keep("labels: counts", f"{store!r}\n{json.dumps(store.counts())}")
    judged = wb.LabelStore(made.work / "gold.sqlite")
    count = wb.gold_labels(made.heldout[:20], judged, seed=3)
    stands = judged.labels().drop(columns=["time", "event_id"])  # drawn anew each time
    book.keep("gold_labels", f"{count}\n{tables(stands)}")
    sent = [judged.send(pair, seen_in="here") for pair in made.heldout[18:22]]
    book.keep("labels: queue", f"{sent}\n{judged.queue().ids()}")


VARIANTS = (
    [],
    ["--ties", "both", "--k-way", "best-worst"],
    ["--ties", "unpaired", "--k-way", "adjacent", "--min-agreement", "0.6"],
)
STORE_VARIANTS = (["--votes", "each"], ["--annotators", "ada"])


def formats(book: Book, made: Made) -> None:
    """Every written format from a pairs file and from a label store, and read in again."""
    made.mixed.save(made.work / "mixed.jsonl")
    sources = {"pairs": "mixed.jsonl", "labels": Path(made.store.path).name}
    (made.work / "written").mkdir(exist_ok=True)
    jobs = [(name, source, file) for name in made.formats for source, file in sources.items()]
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(lambda job: _format(made, *job), jobs)
        for (name, source, _), told in zip(jobs, results, strict=True):
            book.keep(f"format {name} from {source}", told[0], "version")
            book.keep(f"format {name} from {source}, read again", told[1])
    split = ("--split", "train=0.6", "test=0.4", "--seed", "4", "--out", "written/parts.jsonl.gz")
    said = made.command("export", "mixed.jsonl", "--format", "canonical", *split)
    parts = sorted((made.work / "written").glob("parts*"))
    hashes = [f"{digest(path.read_bytes())} {path.name}" for path in parts if path.suffix == ".gz"]
    manifests = [path.read_text("utf-8") for path in parts if path.suffix != ".gz"]
    told = "\n".join([said, *hashes, *manifests])
    book.keep("format canonical in two gzipped parts", told, "version")


def _format(made: Made, name: str, source: str, file: str) -> tuple[str, str]:
    """What a format's files hold under each set of options; and the first one, read again."""
    told: list[str] = []
    again = ""
    variants = [*VARIANTS, *(STORE_VARIANTS if source == "labels" else ())]
    for number, options in enumerate(variants):
        out = f"written/{source}-{name}-{number}.jsonl"
        told.append(made.command("export", file, "--format", name, "--out", out, *options))
        for path in (made.work / out, made.work / f"{out}.manifest.json"):
            if path.exists():
                told.append(f"=== {path.name}\n{path.read_text('utf-8')}")
        if number == 0:
            again = error_of(lambda out=out: _read_again(made.work / out))
    return "\n".join(told), again


def _read_again(path: Path) -> str:
    pairs = wb.load_pairs(path)
    canonical = pairs.save(path.with_suffix(".again.jsonl")).read_text("utf-8")
    return f"{json.dumps(pairs.report.as_dict(), indent=1)}\n{canonical}"


def runs(book: Book, made: Made) -> None:
    """Each run's files, its panel's still picture, its page and alarms; then the table of all."""
    for name in ("sft", "texts", "reward", "members", "ppo adapter", "ppo shared", "ppo group"):
        run = made.run(name)
        _files(book, f"run {name}", run)
        book.keep(f"run {name}: panel", shown(run), "mark")
        book.keep(f"run {name}: alarms", tables(run.alarms()))
        copied = made.work / f"{run.name}.html"
        Pages(book).keep(f"report of run {name}", wb.report(run, copied))
        book.keep(f"run {name}: status", made.command("status", str(run.path)))
    other = made.work / "all"
    for run in made.trained.values():
        shutil.copytree(run.path, other / run.name)
    before, os.environ["WORKBENCH_RUNS"] = os.environ["WORKBENCH_RUNS"], str(other)
    try:
        found = wb.runs()
        book.keep("runs: shown", shown(found), "mark", "created")
        book.keep("runs: frame", f"{found!r}\n{tables(found.frame)}", "created")
    finally:
        os.environ["WORKBENCH_RUNS"] = before


def _files(book: Book, item: str, run: Any) -> None:
    book.keep(f"{item}: name and state", f"{run.name}\n{run!r}\n{run.kind} {run.status}")
    for file in ("metrics", "samples", "events"):
        book.rows(f"{item}: {file}.jsonl", run.path / f"{file}.jsonl")
    config = {name: value for name, value in run.config.items() if name not in UNSURE}
    book.keep(f"{item}: config.json", json.dumps(config, indent=1, ensure_ascii=False))
    book.folder(f"{item}: final/,", run.final)


def evaluations(book: Book, made: Made) -> None:
    """How good a reward model is, by the verb and by the command; what more labels are worth."""
    pairs = wb.Pairs.from_items([*made.heldout, *made.mixed, *made.store.pairs()])
    found = wb.evaluate_reward(made.run("reward"), pairs)
    book.keep("evaluate_reward: shown", shown(found))
    book.keep("evaluate_reward: frames", f"{tables(found.summary)}\n{tables(found.frames)}")
    book.keep("evaluate_reward: figures", f"{json.dumps(dict(found))}\n{figures(found.figures)}")
    worst = found.worst.save(made.work / "worst.jsonl").read_text("utf-8")
    book.keep("evaluate_reward: worst", worst)
    mended = found.relabelled(made.store).save(made.work / "mended.jsonl").read_text("utf-8")
    book.keep("evaluate_reward: relabelled", mended)
    Pages(book).keep("report of an evaluated run", wb.report("reward", made.work / "e.html"))
    made.heldout.save(made.work / "heldout.jsonl")
    asked = ("evaluate", "--reward", str(made.run("members").path), "--data", "heldout.jsonl")
    said = made.command(*asked, "--out", "said.json", "--worst", "said.jsonl")
    kept = [(made.work / name).read_text("utf-8") for name in ("said.json", "said.jsonl")]
    book.keep("evaluate", "\n".join([said, *kept]))
    settings: dict[str, Any] = {"steps": 3, "batch_size": 8}
    with_runs = wb.learning_curve(CHAT, made.train, [16, 32], heldout=made.heldout, **settings)
    book.keep("learning_curve: shown", shown(with_runs))
    book.keep("learning_curve: frame", f"{with_runs.curve}\n{tables(with_runs.frame)}")
    book.keep("learning_curve: figures", figures(with_runs.figures))


def optimisation(book: Book, made: Made) -> None:
    """Best of n, over-optimisation, and PPO beside the optimum."""
    rewards = {"heldout_reward": made.run("members")}
    best = wb.best_of_n(
        *(CHAT, made.run("reward"), made.prompts[:5], [1, 2, 4, 8]), response_length=24, **rewards
    )
    book.keep("best_of_n: shown", shown(best))
    book.keep("best_of_n: frames", f"{tables(best.frame)}\n{tables(best.answers)}")
    book.keep("best_of_n: figures", figures(best.figures))
    for item, beside in (("overoptimisation", None), ("overoptimisation with best_of_n", best)):
        found = wb.overoptimisation(made.run("ppo adapter"), beside)
        book.keep(f"{item}: shown", f"{found.sentence}\n{shown(found)}")
        book.keep(f"{item}: frames", tables(found.frames))
        book.keep(f"{item}: figures", figures(found.figures))
    check = wb.analytic_check(steps=8)
    book.keep("analytic_check: shown", f"{check.sentence}\n{shown(check)}")
    book.keep("analytic_check: frame", f"{check.worth}\n{check.kl}\n{tables(check.frame)}")
    book.keep("analytic_check: figures", figures(check.figures))


def checks(book: Book, made: Made) -> None:
    """Presets, memory plans, the preflight, and verify's table."""
    book.keep("presets", f"{shown(wb.presets())}\n{tables(wb.presets())}")
    for item, card, preset in (("plan", 16.0, None), ("plan that does not fit", 0.1, "cpu-tiny")):
        found = wb.plan(CHAT, card_gb=card, preset=preset)
        book.keep(item, f"{shown(found)}\n{tables(found.frame)}")
    short: dict[str, Any] = {"batch_size": 8, "response_length": 24}
    found = wb.preflight(CHAT, made.run("reward"), prompts=made.prompts, **short)
    book.keep("preflight", f"{shown(found)}\n{tables(found.frame)}")
    table = without_timed_columns(wb.verify(CHAT, steps=3, **short).markdown)
    book.keep("verify", table, "version", "stages", "free", "process")


def batches(book: Book, made: Made) -> None:
    """Answers sampled, scored, compared blind; a run as plain weights."""
    rows = "".join(json.dumps({"prompt": prompt}) + "\n" for prompt in made.prompts[:6])
    (made.work / "prompts.jsonl").write_text(rows, "utf-8")
    asked = ("sample", "--model", CHAT, "--data", "prompts.jsonl", "--out", "sampled.jsonl")
    said = made.command(*asked, "--responses", "3", "--set", "response_length=24")
    book.keep("sample", f"{said}\n{(made.work / 'sampled.jsonl').read_text('utf-8')}")
    texts = ["", "No.", "A long one. " * 6, "1) saw, 2) spade."]
    found = wb.score(made.run("members"), made.prompts[:4], texts, spread=True)
    book.keep("score", json.dumps(found._asdict()))
    plain = wb.export_model(made.run("ppo adapter"), made.work / "plain")
    book.folder("export_model:", plain)
    store = wb.LabelStore(made.work / "compared.sqlite")
    desk: Any = wb.compare(
        *(CHAT, made.run("ppo adapter")),
        prompts=made.prompts[:6],
        store=store,
        reward=made.run("reward"),
        best_of=3,
        response_length=24,
    )
    book.keep("compare: blind", shown(desk))
    desk.session.choose("left")
    desk.session.choose("right")
    book.keep("compare: result", tables(desk.result()))
    book.keep("compare: disagreements", f"{desk.disagreements().ids()}")
    book.keep("compare: revealed", f"{shown(desk.reveal())}\n{shown(desk)}")


def rounds(book: Book, made: Made) -> None:
    """A further round: pairs drawn, labelled, learned from; its page and table."""
    store = wb.LabelStore(made.work / "round.sqlite")
    turn = wb.next_round(made.run("ppo adapter"), store, pairs=6)
    book.keep("round: pairs", (turn.path / "pairs.jsonl").read_text("utf-8"))
    book.keep("round: drawn", shown(turn))
    wb.gold_labels(turn.pairs, store)
    turn.train(reward={"steps": 3}, steps=2).wait(progress=False)
    book.keep("round: trained", f"{shown(turn)}\n{json.dumps(turn.figures(), indent=1)}")
    book.keep("round: round.json", (turn.path / "round.json").read_text("utf-8"))
    _files(book, "round: reward", turn.reward)
    _files(book, "round: policy", turn.policy)
    Pages(book).keep("report of a round", wb.report(turn, made.work / "round.html"))


def demo(book: Book, made: Made) -> None:
    """The whole loop by the command line, its page and its summary."""
    said = made.command("demo", "--quick", "--out", "demo", WORKBENCH_QUICK="1")
    book.keep("demo: said", said, "progress")
    book.keep("demo: summary", (made.work / "demo" / "summary.json").read_text("utf-8"), "seconds")
    Pages(book).keep("report of the whole loop", made.work / "demo" / "report.html", "seconds")


PARTS: dict[str, Callable[[Book, Made], None]] = {
    part.__name__: part
    for part in (
        *(names, data, labels, formats, runs, evaluations, optimisation, checks, batches),
        *(rounds, demo),
    )
}


# --- recording and comparing ----------------------------------------------------------------------

COMPARING = "# --- recording and comparing"  # what of this script a record depends on ends here
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")
MARKUP = re.compile(r"<[^<>]*>")


def about() -> dict[str, str]:
    """What numbers may depend on, beside the code."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    recorder, _, _ = Path(__file__).read_text("utf-8").partition(COMPARING)
    script = digest(recorder.encode("utf-8"))
    machine = {"machine": platform.machine(), "cores": str(os.cpu_count())}
    return {"script": script, "python": platform.python_version(), **machine, **versions}


def commit() -> str:
    """The commit of this checkout."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def surroundings(work: Path) -> None:
    """Fix what a process inherits: its places, one thread, no network, a terminal's width."""
    if Path(wb.__file__).resolve().parents[1] != ROOT:
        raise SystemExit(f"workbench is {wb.__file__}, not that of {ROOT}")
    os.environ.pop("WORKBENCH_QUICK", None)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    os.environ |= {
        "PYTHONPATH": path,
        "WORKBENCH_RUNS": str(work / "runs"),
        "WORKBENCH_LOCKS": str(work / "locks"),
        "IPYTHONDIR": str(work / "ipython"),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
        "LINES": "60",
        "NO_COLOR": "1",
    }


def found_now(parts: list[str], known: list[str]) -> tuple[Book, dict[str, str], list[str]]:
    """Do everything; the book, what went wrong by part, and the formats there are."""
    # always as long a path: tables are as wide as what stands in them
    work = Path(tempfile.mkdtemp(prefix="unchanged-", dir="/tmp"))
    book, failed = Book(work), dict[str, str]()
    surroundings(work)
    try:
        made = Made(work, known)
        for name in parts:
            begun, book.part = time.monotonic(), name
            try:
                with redirect_stdout(StringIO()):
                    PARTS[name](book, made)
            except Exception as error:
                traceback.print_exc()
                failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        formats_now = made.formats if "formats" in parts else known
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return book, failed, formats_now


def pieces(text: str) -> list[str]:
    """A text in short lines: long ones are broken between elements and between fields."""
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        parts = re.split(r"(?<=>)(?=<)|(?<=,)(?=\s*[\"{\[])", line) if len(line) > WIDE else [line]
        lines += [f"{number}: {part}" for part in parts]
    return lines


def places(was: str, now: str) -> Iterator[str]:
    """Where two texts differ, in lines to print."""
    bare = [[piece.partition(": ")[2] for piece in pieces(text)] for text in (was, now)]
    old, new = pieces(was), pieces(now)
    changes = difflib.SequenceMatcher(None, *bare, autojunk=False).get_opcodes()
    for kind, a, b, c, d in changes:
        if kind != "equal":
            yield from (f"- {piece[:WIDE]}" for piece in old[a:b])
            yield from (f"+ {piece[:WIDE]}" for piece in new[c:d])


def difference(was: dict[str, Any] | None, now: dict[str, Any] | None) -> list[str]:
    """What is otherwise in an item; empty where it is the same."""
    if was is None or now is None:
        return ["it was not there before" if was is None else "it is not there any more"]
    if was["sha256"] == now["sha256"]:
        return []
    if "text" not in was or "text" not in now:
        return [f"{was['sha256'][:12]} -> {now['sha256'][:12]} (too long to be kept as text)"]
    lines = list(places(was["text"], now["text"]))
    more = len(lines) - SHOWN
    rest = [f"… and {more} more lines"] if more > 0 else []
    return [*manner(was["text"], now["text"]), *lines[:SHOWN], *rest]


def manner(was: str, now: str) -> list[str]:
    """What kind of difference it is, where that can be said: of markup, or of numbers alone."""
    words, words_now = (MARKUP.sub(" ", text).split() for text in (was, now))
    if words == words_now:
        return ["(the markup alone: the words between are the same)"]
    if NUMBER.sub("#", was) != NUMBER.sub("#", now):
        return []
    numbers = zip(*(map(float, NUMBER.findall(text)) for text in (was, now)), strict=True)
    most = max(abs(a - b) / (max(abs(a), abs(b)) or 1.0) for a, b in numbers)
    return [f"(numbers alone, by {most:.1e} of their size at most)"]


def compared(was: dict[str, Any], now: dict[str, Any], failed: dict[str, str]) -> int:
    """Print a line an item, and what parts ended in; how many differ."""
    wide = max(map(len, [*was, *now]))
    wrong = 0
    for item in dict.fromkeys([*was, *now]):
        found = difference(was.get(item), now.get(item))
        print(f"{item:<{wide}}  {'differs' if found else 'same'}")
        for line in found:
            print(f"    {line}")
        wrong += bool(found)
    for name, why in failed.items():
        print(f"{f'part {name}':<{wide}}  differs\n    it ended in {why}")
    return wrong + len(failed)


def write_texts(folder: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Write the texts of what differs into two folders, ``was`` and ``now``."""
    for side, items, others in (("was", was, now), ("now", now, was)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        for item, found in items.items():
            if "text" in found and others.get(item, {}).get("sha256") != found["sha256"]:
                name = re.sub(r"[^\w.,=-]+", "_", item)
                (folder / side / f"{name}.txt").write_text(found["text"], "utf-8")


def record(file: Path, parts: list[str]) -> int:
    """Write a record; 1, and nothing written, where a part fails."""
    book, failed, formats_now = found_now(parts, [])
    for name, why in failed.items():
        print(f"part {name} ended in {why}")
    if failed:
        return 1
    for name, times in sorted(book.replaced.items()):
        why = RULES[name].why if name in RULES else "a folder of this checkout or recording"
        print(f"rule {name} ({why}): {times} times")
    found = {"commit": commit(), "about": about(), "formats": formats_now, "items": book.items}
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(book.items)} items of {found['commit']}: {file}")
    return 0


def compare(file: Path, parts: list[str], texts: Path | None) -> int:
    """Compare this checkout with a record; 1 where an item differs."""
    recorded = json.loads(file.read_text("utf-8"))
    book, failed, _ = found_now(parts, recorded["formats"])
    here = about()
    for name, known in recorded["about"].items():
        if known != here.get(name):
            print(f"note: {name} was {known}, and is {here.get(name)}")
    was = {item: found for item, found in recorded["items"].items() if found["part"] in parts}
    wrong = compared(was, book.items, failed)
    if texts is not None:
        write_texts(texts, was, book.items)
    print(f"\n{recorded['commit']} -> {commit()}: {wrong or 'nothing'} of it differs")
    return int(wrong > 0)


def main() -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--texts", type=Path, help="a folder for the texts of what differs")
    asked = parser.parse_args()
    parts = [name for name in PARTS if name in asked.only]
    if asked.action == "record":
        return record(asked.file.absolute(), parts)
    return compare(asked.file.absolute(), parts, asked.texts)


if __name__ == "__main__":
    sys.exit(main())
