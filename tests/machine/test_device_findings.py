"""The device in words: a card, a CPU, and the traps between a card's driver and torch."""

import pytest

from workbench.machine import device_findings as module
from workbench.machine.device_findings import device_findings, free_bytes, memory_limit
from workbench.machine.libraries import Probed

CPU = {"torch": "2.13.0+cpu", "cuda": None, "gpu": None, "threads": 8}
CARD = {
    "torch": "2.13.0+cu126",
    "cuda": "12.6",
    "gpu": "Tesla T4",
    "gpus": 1,
    "capability": [7, 5],
    "free": 15 * 10**9,
    "size": 16 * 10**9,
}


@pytest.fixture(autouse=True)
def no_card(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def driver(tmp_path):
    """A driver that knows one card."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Tesla T4'\n")
    tool.chmod(0o755)


def look(device=None, bits=None):
    found = {"device": device, "4-bit": bits}
    probed = Probed({k: v for k, v in found.items() if v is not None}, "", "")
    return {one.name: one for one in device_findings(probed)}


def test_a_cpu_is_fine():
    one = look(CPU)["device"]
    assert one.state == "ok" and "no GPU" in one.found and "8 of them for torch" in one.found


def test_one_thread_on_many_cores_is_worth_a_look(monkeypatch):
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    one = look({**CPU, "threads": 1})["device"]
    assert one.state == "look" and "OMP_NUM_THREADS" in one.fix


def test_a_card_says_its_memory_and_what_it_computes_in():
    found = look(CARD)
    assert found["device"].state == "ok"
    assert "Tesla T4, 16 GB, computes in float16" in found["device"].found
    assert found["GPU memory"].found == "15.0 of 16.0 GB are free"
    newer = look({**CARD, "capability": [9, 0], "gpus": 2})["device"].found
    assert "computes in bfloat16" in newer and "2 are here, a run uses one" in newer


def test_a_card_that_something_else_uses_is_worth_a_look():
    one = look({**CARD, "free": 2 * 10**9})["GPU memory"]
    assert one.state == "look" and "nvidia-smi" in one.fix


@pytest.mark.usefixtures("driver")
def test_a_torch_without_cuda_beside_a_card_is_a_known_trap():
    one = look(CPU)["device"]
    assert one.state == "look"
    assert "the driver knows Tesla T4" in one.found and "a build without CUDA" in one.found
    assert "CUDA build of torch" in one.fix


@pytest.mark.usefixtures("driver")
def test_a_torch_for_a_newer_driver_is_told_from_one_without_cuda():
    one = look({**CPU, "cuda": "13.0"})["device"]
    assert "built for CUDA 13.0 and sees no card" in one.found and "update the driver" in one.fix


@pytest.mark.usefixtures("driver")
def test_a_hidden_card_is_told(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    one = look({**CPU, "cuda": "12.6"})["device"]
    assert "CUDA_VISIBLE_DEVICES='' hides it" in one.found
    assert one.fix == "unset CUDA_VISIBLE_DEVICES"


def test_a_driver_s_tool_that_fails_knows_no_card(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'no driver is loaded'\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert look(CPU)["device"].state == "ok"


def test_a_card_that_cannot_be_used_and_a_torch_that_is_not_there_fail():
    assert look({"error": "RuntimeError: no kernel image"})["device"].state == "failed"
    assert look(None)["device"].state == "failed"


def test_four_bits_work_or_the_reason_is_told():
    assert look(CPU, {"off": 0.09, "device": "cpu"})["4-bit"].state == "ok"
    one = look(CPU, {"error": "OSError: libbitsandbytes_cpu.so"})["4-bit"]
    assert one.state == "look" and "libbitsandbytes_cpu.so" in one.found
    assert "quantization='none'" in one.fix


def test_free_memory_is_the_system_s_own_figure(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    2000 kB\n")
    assert free_bytes(tmp_path / "meminfo") == 2000 * 1024


def test_a_container_s_limit_counts_in_both_versions_of_control_groups(tmp_path):
    assert memory_limit(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("900\n")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("300\n")
    assert memory_limit(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert memory_limit(tmp_path) == 600
    (tmp_path / "memory.max").write_text("105\n")
    assert memory_limit(tmp_path) == 100


@pytest.mark.parametrize(("limit", "state"), [(10**9, "look"), (9 * 10**9, "ok")])
def test_little_memory_is_worth_a_look(monkeypatch, limit, state):
    monkeypatch.setattr(module, "free_bytes", lambda: 20 * 10**9)
    monkeypatch.setattr(module, "memory_limit", lambda: limit)
    one = look(CPU)["memory"]
    assert one.state == state
    assert one.found.startswith(f"{limit / 1e9:.1f} GB free (this container's limit")
