"""The pictures of README and the lecture, from JupyterLab in Chromium: ``make screenshots``.

    python tests/browser/screenshots.py            every picture, light and dark
    python tests/browser/screenshots.py labeller   only these, of those in CELLS
    ... --reward runs/mine                         with this reward model
    ... --root runs/pictures                       keep the runs there, and find them again

Nothing is made up: every run is trained, and steered while it is pictured; the runs of notebook 04
that goes too far and of the two rounds of notebook 06 are among them. Where a person would judge,
the sample world's judge does, through the same keys. The demo's reward model is used where there
is one. Nine runs are trained for all of it, or eight.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import PROJECT, Lab, Notebook, find_chromium, kernel_eval, start_browser, start_lab
from playwright.sync_api import Browser
from small_png import in_few_colours

import workbench as wb
from workbench.errors import RunError
from workbench.runs import Run
from workbench.verbs.train import finished

IMAGES = PROJECT / "notebooks" / "images"
REWARD = PROJECT / "runs" / "demo" / "reward"  # by make demo
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTH, NARROW = 1200, {"round": 640}  # pixels of every picture, but for these
WINDOW = {"width": 1900, "height": 2200}  # so large that nothing needs to scroll
MOST_BYTES = 130_000
SLOW = 1_800_000  # ms
MODEL, PROMPTS = "builtin:tiny-chat", "sample:prompts_ppo"

# four pairs to label, then a harmless one with much to read
LABELLER = """
from workbench.data.pairs import Pairs
first, rest = (items := list(wb.load_pairs('sample:unlabelled')))[:4], items[4:]
asked = ('Describe', 'What do you know')
rest.sort(key=lambda pair: -min(len(answer[0]['content']) for answer in pair.responses))
rest.sort(key=lambda pair: not pair.prompt[-1]['content'].startswith(asked))
wb.label(Pairs.from_items([*first, *rest]), wb.LabelStore({labels!r}), annotator='ada')
"""
BLIND = """
store = wb.LabelStore({store!r})
prompts = wb.load_prompts('sample:prompts_heldout')[:30]
desk = wb.compare('builtin:tiny-chat', wb.open_run({ppo!r}), prompts=prompts, store=store,
                  reward=wb.open_run({reward!r}), annotator='ada')
desk
"""
CELLS = {
    "live": ("wbp", "wb.open_run({far!r})"),
    "panel": ("wbp", "wb.open_run({ppo!r})"),
    "reward": ("wbp", "wb.open_run({reward!r})"),
    "runs": ("wbr", "wb.runs()"),
    "labeller": ("wbl", LABELLER),
    "browser": ("wbb", "wb.browse('sample:pairs_train', wb.LabelStore({seen!r}))"),
    "explorer": ("wbx", "wb.loss_explorer()"),
    "evaluation": (
        "jp-OutputArea-output > div",
        "wb.evaluate_reward({reward!r}, 'sample:pairs_heldout')",
    ),
    "compare": (
        "wbc",
        "wb.compare('builtin:tiny-chat', wb.open_run({ppo!r}), best_of=16,"
        " prompts=wb.load_prompts('sample:prompts_heldout')[:60], reward=wb.open_run({reward!r}))",
    ),
    "blind": ("wbl", BLIND.replace("{store!r}", "{blind!r}")),
    "revealed": ("wbl", BLIND.replace("{store!r}", "{revealed!r}")),
    "playground": (
        "wbg",
        "wb.playground('builtin:tiny-chat', wb.open_run({ppo!r}), reward=wb.open_run({reward!r}),"
        " store=wb.LabelStore({played!r}))",
    ),
    "round": (
        "jp-OutputArea-output > div",
        "wb.next_round('first', wb.LabelStore({rounds!r}), pairs=256)",
    ),
}

# a report is plain HTML, without the edge that a widget has
LAY = """(node, width) => {
    if (!node.classList.contains('wb')) Object.assign(node.style, { padding: '14px 18px' });
    Object.assign(node.style, { width: `${width}px`, maxWidth: 'none', boxSizing: 'border-box' });
}"""
DRESS = """async (theme) => {
    await window.jupyterapp.commands.execute('apputils:change-theme', { theme });
    await document.fonts.ready;
}"""
IS_LIGHT = "(light) => document.body.dataset.jpThemeLight === String(light)"
# every chart that is seen has its curve, in ink that suits the page
DRAWN = """(light) => {
    const charts = [...document.querySelectorAll('.wbp-chart')].filter((one) => one.offsetParent);
    return charts.length > 0 && charts.every((chart) => {
        const plot = chart.querySelector('.wbp-plot');
        const ink = plot.layout?.font.color.match(/\\d+/)[0];
        return plot.querySelector('.js-line') && ink < 128 === light;
    });
}"""
AT = """(step) => {
    const told = document.querySelector('.wbp-how').textContent.match(/([\\d,]+) of/);
    const over = !/running|starting/.test(document.querySelector('.wbp-state').textContent);
    return over || (told && Number(told[1].replace(',', '')) >= step);
}"""
RINGS = """() => document.querySelector('.wbp-alarms:not([hidden]) .wbp-ringing li')
    || !/running|starting/.test(document.querySelector('.wbp-state').textContent)"""


def main(wanted: list[str], made: Path, root: Path | None) -> int:
    """Make the wanted pictures; 1 where one is too large for the repository."""
    with tempfile.TemporaryDirectory(prefix="workbench-pictures-") as folder:
        place = Path(folder)
        os.environ["WORKBENCH_RUNS"] = str((root or place / "runs").absolute())
        os.environ["WORKBENCH_LOCKS"] = str(place / "locks")  # beside a person's own
        os.environ.pop("WORKBENCH_QUICK", None)
        with Runs(made, place) as runs, studio(place / "lab") as (lab, browser):
            pictures = [path for name in wanted for path in picture(lab, browser, name, runs)]
    large = [path for path in pictures if path.stat().st_size > MOST_BYTES]
    for path in pictures:
        print(f"{path.relative_to(PROJECT)}  {path.stat().st_size / 1000:.0f} kB")
    print(f"all pictures: {sum(p.stat().st_size for p in IMAGES.glob('*.png')) / 1e6:.2f} MB")
    for path in large:
        print(f"{path.name} is over {MOST_BYTES / 1000:.0f} kB: show less of it", file=sys.stderr)
    return 1 if large else 0


@contextmanager
def studio(folder: Path) -> Iterator[tuple[Lab, Browser]]:
    """JupyterLab and Chromium."""
    with start_lab(folder) as lab, start_browser(find_chromium()) as browser:
        yield lab, browser


class Runs:
    """The runs to show, each trained when a picture first asks for it; those found are taken."""

    def __init__(self, made: Path, place: Path) -> None:
        self.made, self.place = made, place
        self.live: Run | None = None

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Stop what is live: the next run has to have the device."""
        with suppress(RunError):  # it is over
            if self.live is not None:
                self.live.stop(wait=True)
        self.live = None

    def __getitem__(self, name: str) -> str:
        """What a cell names: a run's folder, or the file of a label store."""
        run = getattr(type(self), name, None)
        return str(getattr(self, name).path if run else self.place / f"{name}.sqlite")

    @cached_property
    def reward(self) -> Run:
        """The one that was made, or else one of our own."""
        with suppress(RunError):
            run = wb.open_run(self.made)
            if run.status == "finished":
                return run
        return finished(wb.train_reward(MODEL, "sample:pairs_train", name="reward"))

    @cached_property
    def ppo(self) -> Run:
        return finished(wb.train_ppo(MODEL, self.reward, PROMPTS, name="ppo"))

    @cached_property
    def held(self) -> Run:
        """A shorter one on a shorter leash, to be seen beside the other."""
        short = {"steps": 40, "kl_coef": 0.3}
        return finished(wb.train_ppo(MODEL, self.reward, PROMPTS, name="held", **short))

    @cached_property
    def far(self) -> Run:
        """Notebook 04's run against a reward model of 200 pairs that nothing holds; it is live."""
        few = wb.load_pairs("sample:pairs_heldout")[:200]
        weak = finished(wb.train_reward(MODEL, few, epochs=4, name="weak"))
        free = {"kl_coef": 0.0, "learning_rate": 1e-3, "steps": 120, "heldout_reward": self.reward}
        self.live = wb.train_ppo(MODEL, weak, PROMPTS, name="too-far", fresh=True, **free)
        return self.live

    @cached_property
    def rounds(self) -> Any:
        """The store of notebook 06's second round, trained."""
        few = wb.load_pairs("sample:pairs_train")[:48]
        options = {"epochs": 8.0, "holdout": 0.0, "evaluate_every": 0, "name": "few-labels"}
        reward = finished(wb.train_reward(MODEL, few, **options))
        first = finished(wb.train_ppo(MODEL, reward, PROMPTS, steps=20, name="first"))
        store = wb.LabelStore(wb_root() / "rounds.sqlite")
        again = wb.next_round(first, store, pairs=256)
        wb.gold_labels(again.pairs, store, seed=0)
        finished(again.train())
        return store


def wb_root() -> Path:
    """Where the runs of these pictures lie."""
    return Path(os.environ["WORKBENCH_RUNS"])


class Asked(dict[str, str]):
    """What a cell's text names is made when it is formatted."""

    def __init__(self, runs: Runs) -> None:
        super().__init__()
        self.runs = runs

    def __missing__(self, name: str) -> str:
        return self.runs[name]


def picture(lab: Lab, browser: Browser, name: str, runs: Runs) -> list[Path]:
    """Show one view in a notebook of its own and picture it in both themes."""
    mark, cell = CELLS[name]
    if name == "runs":
        assert runs.ppo and runs.held
    code = cell.format_map(Asked(runs))
    with Notebook(lab, browser, name, viewport=WINDOW) as notebook:
        page = notebook("import workbench as wb", code, timeout=SLOW)
        root = page.locator(f".{mark}").last
        root.wait_for()
        root.evaluate(LAY, NARROW.get(name, WIDTH))
        root = PREPARE.get(name, lambda _page, root: root)(page, root)
        try:
            return [shoot(page, root, name, theme) for theme in THEMES]
        finally:
            runs.end()


def shoot(page: Any, root: Any, name: str, theme: str) -> Path:
    """One picture in one theme."""
    page.evaluate(DRESS, THEMES[theme])
    page.wait_for_function(IS_LIGHT, arg=theme == "light")
    if name in ("live", "panel", "reward", "runs"):
        page.wait_for_function(DRAWN, arg=theme == "light", timeout=60_000)
    page.mouse.move(0, 0)
    path = IMAGES / f"{name}-{theme}.png"
    taken = root.screenshot(animations="disabled", caret="hide")
    if page.problems or page.outside:
        raise RuntimeError(
            "\n".join([f"{name}: the page complained", *page.problems, *page.outside])
        )
    path.write_bytes(in_few_colours(taken, page))
    return path


# --- what a person would have done before the picture ------------------------------------------


def live(page: Any, root: Any) -> Any:
    """An alarm rings, the leash is tightened, and the run goes on for a while."""
    page.wait_for_function(RINGS, timeout=SLOW)
    step = int(root.locator(".wbp-how").inner_text().split()[1])
    root.focus()
    page.keyboard.press("m")  # the settings
    field = root.get_by_label("kl_coef, reward/nat")
    field.fill("0.3")
    field.press("Enter")
    root.focus()
    page.keyboard.press("m")
    page.wait_for_function(AT, arg=step + 10, timeout=SLOW)
    root.locator(".wbp-rang").evaluate("(details) => { details.open = true; }")  # it may be over
    return root


def panel(page: Any, root: Any) -> Any:
    """What a finished run has learned."""
    root.locator(".wbp-answer").first.wait_for()
    return root


def runs_view(page: Any, root: Any) -> Any:
    """Two PPO runs are picked."""
    root.get_by_label("kind of run").select_option("ppo")
    for name in ("ppo", "held"):
        root.get_by_label(f"compare {name}", exact=True).click()
    root.locator(".wbr-run").nth(1).wait_for()
    root.get_by_label("kind of run").select_option("")
    root.locator(".wbr-answers tbody tr").first.wait_for()
    return fewer(page, root, ".wbr-answers", 2)


def fewer(page: Any, root: Any, table: str, rows: int) -> Any:
    """So many rows of a table are enough to see, also of what comes later."""
    page.add_style_tag(content=f"{table} tbody tr:nth-child(n + {rows + 1}) {{ display: none; }}")
    return root


def labeller(page: Any, root: Any) -> Any:
    """Four labels (too few for a pace, which would be a program's), then the differences."""
    root.locator(".wbl-question").click()
    for key in ("1", "2", "t", "1", "d"):
        page.keyboard.press(key)
    saved(page)
    return root


def saved(page: Any) -> None:
    page.wait_for_function(
        "() => document.querySelector('.wbl-status').textContent.includes('saved')"
    )


def reader(page: Any, root: Any) -> Any:
    """One pair is read below the table, with its differences."""
    root.locator(".wbb-row").nth(8).click()
    root.locator(".wbb-detail").wait_for()
    page.keyboard.press("d")
    root.locator(".wbb-detail ins").first.wait_for()
    return root


def compared(page: Any, root: Any) -> Any:
    """Where the last model gained most."""
    root.get_by_label("order", exact=True).select_option("up")
    root.focus()
    page.keyboard.press("Home")
    return root


def blind(page: Any, root: Any, verdicts: int = 4) -> Any:
    """Some prompts are judged by keys as the sample world's judge would, with a slip in seven."""
    root.locator(".wbl-question").click()
    for n in range(verdicts):
        page.keyboard.press(kernel_eval(page, f"({KEY})({n})"))
        page.wait_for_function(
            "(n) => document.querySelector('.wbl-status').textContent.includes('saved')"
            " && document.querySelector('.wbl-head').textContent.includes(`${n} of`)",
            arg=n + 1,
        )
    page.keyboard.press("d")
    return root


# the key for the n-th prompt: the better answer by the gold judge, on every seventh the other one
KEY = """lambda n: (lambda at: (lambda left, right: 't' if abs(left - right) < 0.05
    else '12'[(left < right) != (n % 7 == 6)])(*(wb.gold_score(at.prompt, side)
    for side in (at.left, at.right))))(desk.current)""".replace("\n", " ")


def revealed(page: Any, root: Any) -> Any:
    """All is judged and revealed; a row on which the reward model is against the person is open."""
    desk = page.locator(".wbl").last
    blind(page, desk, kernel_eval(page, "desk.session.progress()['total']"))
    page.locator(".wbl-end:not([hidden])").wait_for()
    page.keyboard.press("v")
    board = page.locator(".wbc").last
    board.wait_for()
    board.evaluate(LAY, WIDTH)
    board.get_by_label("order", exact=True).select_option("against")
    board.focus()
    page.keyboard.press("Home")
    return board


def playground(page: Any, root: Any) -> Any:
    """One prompt, two temperatures; then the best answer is preferred."""
    root.locator("textarea").fill("Please explain what a crow is.")
    root.get_by_label("temperatures").fill("0.5, 1.0")
    root.locator("textarea").press("Enter")
    root.locator(".wbg-card.done").nth(3).wait_for(timeout=SLOW)
    page.keyboard.press("4")
    root.get_by_text("Saved").wait_for()
    return root


PREPARE: dict[str, Callable[[Any, Any], Any]] = {
    "live": live,
    "panel": panel,
    "runs": runs_view,
    "labeller": labeller,
    "browser": reader,
    "compare": compared,
    "blind": blind,
    "revealed": revealed,
    "playground": playground,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the pictures of README and the lecture.")
    parser.add_argument("wanted", nargs="*", metavar="PICTURE", help=f"of {', '.join(CELLS)}")
    parser.add_argument("--reward", type=Path, default=REWARD, help="a finished reward model")
    parser.add_argument("--root", type=Path, help="keep the runs in this folder, and find them")
    given = parser.parse_args()
    chosen = given.wanted or [*CELLS]
    if unknown := {*chosen} - {*CELLS}:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; of {', '.join(CELLS)}")
    raise SystemExit(main([name for name in CELLS if name in chosen], given.reward, given.root))
