"""Another ipykernel beside the pinned one, for `make test-kernels`: `kernels.py VERSION`.

Makes .venv-ipykernel-VERSION, which has that ipykernel and else sees what .venv has, and prints its
Python. Which thread answers a widget depends on the ipykernel version: 6 (Colab's line) has only
the main one, 7 has subshells. Another requirement than an ipykernel is spelled out:
`kernels.py "notebook>=7,<8"`.
"""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path


def main(version: str) -> int:
    """Make it where it is not there yet; print the path of its Python."""
    wanted = version if version[0].isalpha() else f"ipykernel=={version}"
    folder = Path(__file__).parents[1] / f".venv-{re.sub('[^a-z0-9.]+', '-', wanted)}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--no-compile", "-q"]
        subprocess.run([*pip, wanted], check=True, stdout=sys.stderr)
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
        beside = Path(own.stdout.strip()) / "workbench.pth"  # after its own: its ipykernel wins
        beside.write_text(sysconfig.get_path("purelib") + "\n")
        ready.touch()
    print(python)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
