"""Whatever the workbench needs has a licence that goes with its own, Apache-2.0.

What a distribution's metadata state is judged; the libraries that a wheel bundles (scipy's Fortran
runtime, for one) are its makers' to account for. The extra dev is judged too, though its tools are
only used and never shipped: so far there is no need to tell the two apart.
"""

import re
import tomllib
from email.message import Message
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

# These ask at most for their notice, but for one.
COMPATIBLE = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "HPND",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",  # its terms end at its own files, and we change none of them
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "ZPL-2.1",
    "Zlib",
}

# What the older fields, License and Classifier, say in words (here in lower case).
WORDINGS = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "mit license": "MIT",
    "2-clause bsd": "BSD-2-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause",  # of how many clauses is not said; all of them are compatible
    "bsd license": "BSD-3-Clause",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psfl": "PSF-2.0",
    "public domain": "MIT-0",  # as near as a trove classifier comes to it; pdoc states both
    "python software foundation license": "PSF-2.0",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "other/proprietary license": "LicenseRef-NVIDIA-Proprietary",  # refused of all but NVIDIA's
}
SAY_NOTHING = {"", "unknown", "osi approved", "dfsg approved"}

# torch's CUDA builds ask for NVIDIA's libraries. They are proprietary, but free to use, and ask
# nothing of what uses them; pip brings them to the user's machine, and we ship none of them.
NVIDIA = re.compile(r"nvidia-.+|cuda-toolkit")

# Distributions whose metadata name no licence: what it is, and where that is found.
ELSEWHERE = {
    # an empty package that asks for nvidia-* ones, which state theirs
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
}


def stated(metadata: Message) -> list[str]:
    """Return the licences that the metadata state; more than one are taken to hold together.

    License-Expression alone where there is one (PEP 639), else License, unless it is the licence's
    whole text, and the classifiers.
    """
    if expression := metadata.get("License-Expression"):
        return [expression]
    written = (metadata.get("License") or "").strip()
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License ::")
    ]
    lines = [each for each in (written, *classifiers) if "\n" not in each]
    return [each for each in lines if each.lower() not in SAY_NOTHING]


def is_compatible(licence: str, compatible: set[str]) -> bool:
    """Whether an SPDX expression, or a licence in words, leaves a choice that is compatible."""
    try:
        licence = canonicalize_license_expression(WORDINGS.get(licence.lower(), licence))
    except InvalidLicenseExpression:
        return False
    # from the inside out, each bracket becomes a licence that is judged as the bracket is
    while "(" in licence:
        licence = re.sub(
            r"\(([^()]*)\)",
            lambda inner: "MIT" if is_compatible(inner[1], compatible) else "GPL-3.0-only",
            licence,
        )
    return any(  # AND binds tighter than OR; what follows WITH only ever permits more
        all(each.split(" WITH ")[0] in compatible for each in choice.split(" AND "))
        for choice in licence.split(" OR ")
    )


def complaint(metadata: Message) -> str | None:
    """Return what is wrong with a distribution's licence, None where it is compatible with ours."""
    name = canonicalize_name(metadata["Name"])
    licences = stated(metadata)
    if not licences and name in ELSEWHERE:
        licences = [ELSEWHERE[name]]
    if not licences:
        return f"{name}: its metadata name no licence; find it and give it a line in ELSEWHERE"
    compatible = COMPATIBLE
    if NVIDIA.fullmatch(name):
        compatible = COMPATIBLE | {"LicenseRef-NVIDIA-Proprietary"}
    refused = [each for each in licences if not is_compatible(each, compatible)]
    if refused:
        return f"{name}: {', '.join(refused)} is not known to be compatible with Apache-2.0"
    return None


def needed(roots: list[Requirement]) -> dict[str, tuple[Distribution, str]]:
    """Return all that these need on this machine, by name, each with who asked for it first."""
    reached: dict[str, tuple[Distribution, str]] = {}
    walked: set[tuple[str, str]] = set()
    queue = [(requirement, "pyproject.toml") for requirement in roots]
    while queue:
        requirement, asker = queue.pop(0)
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in walked:
                continue
            walked.add((name, extra))
            installed, _ = reached.setdefault(name, (distribution(name), asker))
            for line in installed.requires or []:
                wanted = Requirement(line)
                if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                    queue.append((wanted, name))
    return reached


def test_all_that_the_core_and_its_extras_need_has_a_compatible_licence():
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    direct = [each for each in map(Requirement, lines) if each.name != project["name"]]
    reached = needed([each for each in direct if not each.marker or each.marker.evaluate()])
    assert {"torch", "sympy", "jupyterlab", "jupyter-server", "pytest"} <= set(reached)
    complaints = {name: complaint(found.metadata) for name, (found, _) in reached.items()}
    assert not [f"{said} (needed by {reached[n][1]})" for n, said in complaints.items() if said]


def made(name="made", **fields):
    """Metadata with these fields; underscores in their names stand for hyphens."""
    metadata = Message()
    metadata["Name"] = name
    for field, lines in fields.items():
        for line in [lines] if isinstance(lines, str) else lines:
            metadata[field.replace("_", "-")] = line
    return metadata


GPL = "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"
MIT = "License :: OSI Approved :: MIT License"


@pytest.mark.parametrize(
    "fields",
    [
        {"License_Expression": "MIT"},
        {"License_Expression": "GPL-3.0-or-later OR MIT"},
        {"License_Expression": "mit and (gpl-2.0-only or (isc and apache-2.0))"},
        {"License_Expression": "Apache-2.0 WITH LLVM-exception AND BSD-3-Clause"},
        {"License_Expression": "MIT", "Classifier": GPL},  # the expression is what holds
        {"License": "Apache License, Version 2.0"},
        {"License": "UNKNOWN", "Classifier": MIT},
        {"License": "Copyright (c) 2020 Made\n\nPermission is granted", "Classifier": MIT},
        {"Classifier": ["Framework :: Jupyter", "License :: OSI Approved", MIT]},
    ],
)
def test_a_licence_that_is_compatible_passes(fields):
    assert complaint(made(**fields)) is None


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"License_Expression": "GPL-3.0-or-later"}, "GPL-3.0-or-later"),
        ({"License_Expression": "MIT AND GPL-3.0-or-later"}, "MIT AND GPL-3.0-or-later"),
        ({"License_Expression": "MIT AND (GPL-2.0-only OR AGPL-3.0-only)"}, "MIT AND"),
        ({"License_Expression": "GPL-2.0-only WITH Classpath-exception-2.0"}, "GPL-2.0-only"),
        ({"License_Expression": "LGPL-2.1-or-later"}, "LGPL-2.1-or-later"),
        ({"License_Expression": "LicenseRef-NVIDIA-Proprietary"}, "LicenseRef"),
        ({"License": "GPLv3", "Classifier": MIT}, "GPLv3"),
        ({"License": "MIT", "Classifier": GPL}, "GNU General Public License v3"),
        ({"Classifier": "License :: Other/Proprietary License"}, "Other/Proprietary License"),
        ({"License": "free for friends"}, "free for friends"),
    ],
)
def test_a_licence_that_is_not_known_to_be_compatible_is_refused(fields, refused):
    said = complaint(made(**fields))
    assert said.startswith(f"made: {refused}") and said.endswith("compatible with Apache-2.0")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"License": "UNKNOWN"},
        {"Classifier": "License :: OSI Approved"},
        {"License": "Copyright (c) 2020 Made\n\nPermission is granted"},
    ],
)
def test_metadata_that_name_no_licence_are_refused(fields):
    assert complaint(made(**fields)).startswith("made: its metadata name no licence")


def test_nvidia_s_own_licence_passes_for_nvidia_s_libraries_alone():
    own = {"License": "Apache 2.0", "Classifier": "License :: Other/Proprietary License"}
    assert complaint(made("nvidia-nvtx", **own)) is None
    assert complaint(made("cuda-toolkit")) is None
    assert complaint(made("not-nvidia-nvtx", **own)) is not None
    assert complaint(made("nvidia-made", License_Expression="GPL-3.0-only")) is not None


def test_the_walk_heeds_markers_and_extras(monkeypatch):
    class Made(Distribution):
        def __init__(self, lines):
            self.lines = lines

        requires = property(lambda self: self.lines)
        read_text = locate_file = None

    world = {
        "top": ["middle[fast] >= 1", 'absent; python_version < "3"'],
        "middle": ['deep; extra == "fast"', 'absent; extra == "slow"', "top"],
        "deep": None,
    }
    monkeypatch.setitem(needed.__globals__, "distribution", lambda name: Made(world[name]))
    reached = needed([Requirement("Top")])
    askers = {name: asker for name, (_, asker) in reached.items()}
    assert askers == {"top": "pyproject.toml", "middle": "top", "deep": "middle"}
