"""The wheel alone: no checkout, an empty home, another folder; the README's two commands run."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def commands() -> list[str]:
    """The two commands of the README's section on the wheel."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("### From a wheel")[1]
    block = section.split("```")[1]
    return re.findall(r"^(workbench [^#\n]*?)(?:  .*)?$", block, re.M)


def test_the_section_has_two_commands():
    assert commands() == ["workbench doctor --self-test", "workbench demo"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_wheel_alone_checks_itself_and_runs_the_whole_loop(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    bare = tmp_path / "environment"
    venv.create(bare, with_pip=False)
    inside = bare / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(inside), "install", "--no-deps", "-q"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    (own,) = bare.glob("lib/python*/site-packages")
    (own / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")  # what it depends on
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    hidden = ("WORKBENCH", "PYTHON", "XDG", "JUPYTER")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env |= {"HOME": str(home), "PATH": f"{bare / 'bin'}:{env['PATH']}"}
    for command in commands():
        quick = " --quick" if "demo" in command else ""
        shell = ["sh", "-c", command + quick]
        said = subprocess.run(shell, cwd=elsewhere, env=env, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
        if not quick:
            assert f"{own}/workbench" in said.stdout  # this copy, not the checkout
            assert f"are kept in {home}/workbench/runs" in said.stdout
            assert "ok    self-test, answers" in said.stdout
    assert (elsewhere / "runs" / "demo" / "report.html").exists()
