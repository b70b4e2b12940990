"""``wb.doctor``: what this machine can do, in words, with what to do where something is amiss."""

from collections.abc import Callable, Sequence
from importlib import metadata

from workbench.html_table import Html, table
from workbench.machine.findings import MachineFact
from workbench.machine.libraries import Needed, installed_version, library_findings, needed, probe
from workbench.progress import working
from workbench.reports.report import COMPACT, PROSE, SHORT, ReportPage, state_cell

_MARKS = {"ok": "ok  ", "look": "LOOK", "failed": "FAIL"}


class Diagnosis(ReportPage):
    """What was looked at on this machine, and what was found; in a notebook a table.

    Attributes:
        findings: ``name``, ``state`` (ok, look, failed), ``found`` and ``fix`` of each.
    """

    def __init__(self, findings: Sequence[MachineFact]) -> None:
        self.findings = list(findings)
        super().__init__(self.verdict)

    @property
    def passed(self) -> bool:
        """Whether a run can be trained here: nothing has failed."""
        return not self._with("failed")

    @property
    def verdict(self) -> str:
        """One sentence."""
        failed, look = self._with("failed"), self._with("look")
        if failed:
            return f"Not ready: mend {_names(failed)} first"
        if look:
            return f"This machine can train; worth a look: {_names(look)}"
        return "This machine can train, and nothing is amiss"

    def _with(self, state: str) -> list[MachineFact]:
        return [one for one in self.findings if one.state == state]

    def __repr__(self) -> str:
        lines: list[str] = []
        for one in self.findings:
            lines.append(f"{_MARKS[one.state]}  {one.name}: {one.found}")
            lines += [f"      to do: {one.fix}"] if one.fix else []
        return "\n".join([*lines, self.verdict])

    def _table(self) -> Html:
        rows = [(state_cell(one.state), one.name, one.found, one.fix) for one in self.findings]
        heads = ("", "what", "found", "what to do")
        return table(rows, (SHORT, SHORT, PROSE, PROSE), heads=heads, attributes=COMPACT)


def _names(findings: Sequence[MachineFact]) -> str:
    return ", ".join(dict.fromkeys(one.name for one in findings))


def doctor(*, self_test: bool = False) -> Diagnosis:
    """Say what this machine can do: device, memory, 4 bits, widgets, disk, and known traps.

    No model is loaded. Torch and the other libraries are tried in a process of their own, so that
    one that is missing, broken or kills its process is a finding like any other.

    Args:
        self_test: also train a reward model and PPO for a few steps, on the embedded model, in a
            temporary folder.

    Returns:
        The findings; ``passed`` says whether a run can be trained here.
    """
    from workbench.machine.device_findings import device_findings
    from workbench.machine.front_end import front_end_findings
    from workbench.machine.places import place_findings

    try:
        libraries = needed()
    except (metadata.PackageNotFoundError, OSError, ValueError) as error:
        libraries = [Needed("torch", "", "")]
        words = f"not known which are needed: {error}"
        unknown = [MachineFact("libraries", "look", words, "install the package with pip")]
    else:
        unknown = list[MachineFact]()
    here = [one.module for one in libraries if installed_version(one.name) and one.extra != "lab"]
    with working("looking at this machine") as work:
        work.tell(0, None, "loading torch and the libraries in a process of its own")
        probed = probe(here)
    findings = [
        *_caught("device", lambda: device_findings(probed)),
        *_caught("libraries", lambda: library_findings(libraries, probed)),
        *unknown,
        *_caught("notebook page", front_end_findings),
        *_caught("places", place_findings),
    ]
    diagnosis = Diagnosis(findings)
    if not self_test:
        return diagnosis
    if not diagnosis.passed:
        why = "not begun: what has failed above comes first"
        return Diagnosis([*findings, MachineFact("self-test", "failed", why)])
    from workbench.machine.first_loop import first_loop

    return Diagnosis([*findings, *first_loop()])


def _caught(name: str, look: Callable[[], list[MachineFact]]) -> list[MachineFact]:
    """The findings of a check; where the check itself fails, one that says so."""
    try:
        return look()
    except Exception as error:
        words = f"could not be looked at: {type(error).__name__}: {error}"
        return [MachineFact(name, "look", words, "please report it")]
