"""The reference is written from the docstrings, so every public name has one."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import workbench

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", workbench.__all__)
def test_every_public_name_says_what_it_does(name):
    thing = getattr(workbench, name)
    assert thing.__doc__, f"wb.{name} has no docstring"
    for method, value in vars(thing).items() if inspect.isclass(thing) else ():
        if not method.startswith("_") and (
            inspect.isfunction(value) or isinstance(value, property)
        ):
            assert value.__doc__, f"wb.{name}.{method} has no docstring"


def test_the_reference_has_every_public_name_and_needs_no_network(tmp_path):
    # a process of its own: pdoc patches what it reads
    command = [sys.executable, ROOT / ".ci" / "api.py", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    page = (tmp_path / "workbench.html").read_text(encoding="utf-8")
    assert set(workbench.__all__) <= set(re.findall(r'<section id="(\w+)"', page))
    for written in tmp_path.rglob("*.html"):
        text = written.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', text)
    assert (tmp_path / "workbench" / "settings.html").exists()
