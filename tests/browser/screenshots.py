"""The pictures of README and the lecture, from JupyterLab in Chromium: ``make screenshots``.

    python tests/browser/screenshots.py            every picture, light and dark
    python tests/browser/screenshots.py labeller   only these, of those in CELLS
    ... --reward runs/mine --steps 20              with this reward model, and fewer updates
    ... runs panel --root runs/demo                of the runs in this folder, none is trained

Nothing is made up: the panel shows a real PPO run while it goes on, the comparison its answers.
The demo's reward model is used where there is one, else one is trained.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lab import PROJECT, Lab, Notebook, find_chromium, start_browser, start_lab
from playwright.sync_api import Browser

import workbench as wb
from workbench.errors import RunError
from workbench.runs import Run
from workbench.settings import PPOSettings

IMAGES = PROJECT / "notebooks" / "images"
REWARD = PROJECT / "runs" / "demo" / "reward"  # by make demo
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
WIDTH = 1200  # pixels of every picture
WINDOW = {"width": 1900, "height": 2200}  # so large that nothing needs to scroll
MOST_BYTES = 250_000
SHARE = 0.7  # of the run is over when its panel is pictured
SLOW = 1_800_000  # ms

# four pairs to label, then a harmless one with much to read
LABELLER = """
from workbench.data.pairs import Pairs
first, rest = (items := list(wb.load_pairs('sample:unlabelled')))[:4], items[4:]
asked = ('Describe', 'What do you know')
rest.sort(key=lambda pair: -min(len(answer[0]['content']) for answer in pair.responses))
rest.sort(key=lambda pair: not pair.prompt[-1]['content'].startswith(asked))
wb.label(Pairs.from_items([*first, *rest]), wb.LabelStore({labels!r}), annotator='ada')
"""
CELLS = {
    "panel": ("wbp", "wb.open_run({ppo!r})"),
    "runs": ("wbr", "import os\nos.environ['WORKBENCH_RUNS'] = {root!r}\nwb.runs()"),
    "labeller": ("wbl", LABELLER),
    "browser": ("wbb", "wb.browse('sample:pairs_train')"),
    "explorer": ("wbx", "wb.loss_explorer()"),
    "compare": (
        "wbc",
        "wb.compare('builtin:tiny-chat', wb.open_run({ppo!r}),"
        " prompts=wb.load_prompts('sample:prompts_heldout')[:60], reward=wb.open_run({reward!r}))",
    ),
}

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
AT = """(share) => {
    const state = document.querySelector('.wbp-state')?.textContent ?? '';
    if (state.includes('failed')) return true;
    const told = document.querySelector('.wbp-how').textContent.match(/(\\d+) of (\\d+)/);
    const there = told && document.querySelector('.wbp-answer');
    return there && (told[1] >= share * told[2] || !state.includes('running'));
}"""


def main(wanted: list[str], made: Path, steps: int, root: Path | None) -> int:
    """Make the wanted pictures; 1 where one is too large for the repository."""
    with tempfile.TemporaryDirectory(prefix="workbench-pictures-") as folder:
        for name in ("runs", "locks"):  # beside a person's own
            os.environ[f"WORKBENCH_{name.upper()}"] = str(Path(folder) / name)
        os.environ.pop("WORKBENCH_QUICK", None)
        with (
            runs_to_show(wanted, made, steps, root) as names,
            studio(Path(folder) / "lab") as (lab, browser),
        ):
            names["labels"] = str(Path(folder) / "labels.sqlite")
            pictures = [path for name in wanted for path in picture(lab, browser, name, names)]
    large = [path for path in pictures if path.stat().st_size > MOST_BYTES]
    for path in pictures:
        print(f"{path.relative_to(PROJECT)}  {path.stat().st_size / 1000:.0f} kB")
    for path in large:
        print(f"{path.name} is over {MOST_BYTES / 1000:.0f} kB: show less of it", file=sys.stderr)
    return 1 if large else 0


@contextmanager
def studio(folder: Path) -> Iterator[tuple[Lab, Browser]]:
    """JupyterLab and Chromium."""
    with start_lab(folder) as lab, start_browser(find_chromium()) as browser:
        yield lab, browser


@contextmanager
def runs_to_show(
    wanted: list[str], made: Path, steps: int, root: Path | None
) -> Iterator[dict[str, str]]:
    """A reward model, a short PPO run and, started last, one that goes on while it is pictured.

    Or those below ``root``: the newest PPO run that has its reward model beside it.
    """
    if root is not None:
        ppo = max(root.absolute().rglob("ppo/config.json")).parent
        yield {
            "reward": str(ppo.with_name("reward")),
            "ppo": str(ppo),
            "root": str(root.absolute()),
        }
        return
    if not {"panel", "runs", "compare"} & {*wanted}:
        yield {}
        return
    reward, prompts = reward_model(made), "sample:prompts_ppo"
    if "runs" in wanted:
        short = {"steps": max(10, steps // 3), "kl_coef": 0.3}
        wb.train_ppo("builtin:tiny-chat", reward, prompts, name="ppo-held", **short).wait()
    ppo = wb.train_ppo("builtin:tiny-chat", reward, prompts, name="ppo", steps=steps)
    try:
        yield {"reward": str(reward.path), "ppo": str(ppo.path), "root": str(ppo.path.parent)}
    finally:
        with suppress(RunError):  # it is over
            ppo.stop(wait=True)


def reward_model(made: Path) -> Run:
    """The one that was made, or else one of our own."""
    with suppress(RunError):
        run = wb.open_run(made)
        if run.status == "finished":
            return run
    return wb.train_reward("builtin:tiny-chat", "sample:pairs_train", name="reward").wait()


def picture(lab: Lab, browser: Browser, name: str, names: dict[str, str]) -> list[Path]:
    """Show one widget in a notebook of its own and picture it in both themes."""
    mark, cell = CELLS[name]
    if name == "compare":
        wb.open_run(names["ppo"]).wait()
    with Notebook(lab, browser, name, viewport=WINDOW) as notebook:
        page = notebook("import workbench as wb", cell.format(**names), timeout=SLOW)
        root = page.locator(f".{mark}")
        root.wait_for()
        root.evaluate(f"(node) => {{ node.style.width = '{WIDTH}px'; }}")
        PREPARE.get(name, lambda *_: None)(page, root)
        return [shoot(page, root, name, theme) for theme in THEMES]


def shoot(page: Any, root: Any, name: str, theme: str) -> Path:
    """One picture in one theme."""
    page.evaluate(DRESS, THEMES[theme])
    page.wait_for_function(IS_LIGHT, arg=theme == "light")
    if name in ("panel", "runs"):
        page.wait_for_function(DRAWN, arg=theme == "light", timeout=60_000)
    for rows in root.locator(".wbr-answers tbody").all():  # two are enough to see
        rows.evaluate("(body) => [...body.rows].slice(2).forEach((row) => row.remove())")
    page.mouse.move(0, 0)
    path = IMAGES / f"{name}-{theme}.png"
    root.screenshot(path=path, animations="disabled", caret="hide")
    if page.problems or page.outside:
        raise RuntimeError(
            "\n".join([f"{name}: the page complained", *page.problems, *page.outside])
        )
    return path


# --- what a person would have done before the picture ------------------------------------------


def panel(page: Any, root: Any) -> None:
    """Wait until there is something to see."""
    page.wait_for_function(AT, arg=SHARE, timeout=SLOW)
    if "failed" in root.locator(".wbp-state").inner_text():
        raise RuntimeError(root.locator(".wbp-failure").inner_text())
    root.focus()
    page.keyboard.press("r")  # what it has learned, not what moved since five updates ago


def runs(page: Any, root: Any) -> None:
    """The two newest PPO runs are picked."""
    root.get_by_label("kind of run").select_option("ppo")
    for row in (0, 1):
        root.locator(".wbr-table tbody tr").nth(row).click()
    root.locator(".wbr-run").nth(1).wait_for()
    root.get_by_label("kind of run").select_option("")
    root.locator(".wbr-answers tbody tr").first.wait_for()


def labeller(page: Any, root: Any) -> None:
    """Four labels (too few for a pace, which would be a program's), then the differences."""
    root.locator(".wbl-question").click()
    for key in ("1", "2", "t", "1", "d"):
        page.keyboard.press(key)
    page.wait_for_function(
        "() => document.querySelector('.wbl-status').textContent.includes('saved')"
    )


def reader(page: Any, root: Any) -> None:
    """One pair is read below the table, with its differences."""
    root.locator(".wbb-row").nth(8).click()
    root.locator(".wbb-detail").wait_for()
    page.keyboard.press("d")
    root.locator(".wbb-detail ins").first.wait_for()


PREPARE = {"panel": panel, "runs": runs, "labeller": labeller, "browser": reader}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the pictures of README and the lecture.")
    parser.add_argument("wanted", nargs="*", metavar="PICTURE", help=f"of {', '.join(CELLS)}")
    parser.add_argument("--steps", type=int, default=PPOSettings().steps, help="of the PPO run")
    parser.add_argument("--reward", type=Path, default=REWARD, help="a finished reward model")
    parser.add_argument("--root", type=Path, help="show the runs in this folder, and train none")
    given = parser.parse_args()
    chosen = given.wanted or [*CELLS]
    if unknown := {*chosen} - {*CELLS}:
        parser.error(f"there is no picture {', '.join(sorted(unknown))}; of {', '.join(CELLS)}")
    raise SystemExit(
        main([name for name in CELLS if name in chosen], given.reward, given.steps, given.root)
    )
