"""Colab's versions as an environment, for ``make test-colab``: ``colab.py PYTHON3.13``.

Makes .venv-colab with exactly the versions of colab-pins.txt, asks pip what installing the
workbench with its extra ``notebook`` would change there, and prints the environment's Python. Any
change to what Colab ships is an error: its page is made for its own ipywidgets.

Torch is there by name alone: the kernel never imports it, its build for Python 3.13 is Colab's to
ship, and pip must know that it is there, or it would plan to fetch it.
"""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PINS = PROJECT / ".ci" / "colab-pins.txt"
BY_NAME_ALONE = {"torch", "transformers", "peft", "accelerate"}  # they, too, need torch
TESTS = ("pytest", "pytest-timeout", "hypothesis", "playwright", "nbformat", "packaging")


def main(python: str) -> int:
    """Make it where it is not there yet; 1 where installing would change a pinned version."""
    folder = PROJECT / ".venv-colab"
    inside, ready = folder / "bin" / "python", folder / ".ready"
    pip = [str(inside), "-m", "pip", "--disable-pip-version-check"]
    pins = dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line)
    if not ready.exists():
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        wanted = [f"{name}=={v}" for name, v in pins.items() if name not in BY_NAME_ALONE]
        subprocess.run(
            [*pip, "install", "--quiet", "--no-compile", *wanted, *TESTS],
            check=True,
            stdout=sys.stderr,
        )
        for name in BY_NAME_ALONE:
            _name_it(folder, name, pins[name])
        ready.touch()
    changed = changes(pip, pins)
    for line in changed:
        print(f"installing the workbench on Colab would change {line}", file=sys.stderr)
    print(inside)
    return 1 if changed else 0


def changes(pip: list[str], pins: dict[str, str]) -> list[str]:
    """What pip would install in the place of a pinned version: "ipywidgets 7.7.1 -> 8.1.9"."""
    ask = [*pip, "install", "--quiet", "--dry-run", "--report", "-", f"{PROJECT}[notebook]"]
    told = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
    planned = [one["metadata"] for one in json.loads(told)["install"]]
    known = {_plain(name): version for name, version in pins.items()}
    return [
        f"{one['name']} {known[_plain(one['name'])]} -> {one['version']}"
        for one in planned
        if _plain(one["name"]) in known
    ]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _name_it(folder: Path, name: str, version: str) -> None:
    """Tell pip that a distribution is there, without its files."""
    (place,) = folder.glob("lib/python*/site-packages")
    info = place / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(text)
    (info / "RECORD").touch()
    (info / "INSTALLER").write_text("pip\n")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
