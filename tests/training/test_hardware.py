"""What a run's config says about the machine."""

import sys

from workbench.training.hardware import hardware


def test_hardware_is_what_this_process_runs_on():
    facts = hardware()
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["threads"] >= 1
