# Set-up, checks and tools of the checkout; `make help` lists the targets.
#
# Every path is relative, so a checkout whose own path holds spaces works too. Console scripts are
# called as `python -m ...` for the same reason: their first line cannot hold such a path.

SHELL := /bin/sh
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
PYTEST_ARGS ?=
CORPUS ?= ../shared/corpus/models

# `onnxruntime` and `onnxruntime-gpu` overwrite each other: exactly one of them is ever installed.
ifndef EXTRAS
EXTRAS := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
endif

READY := $(VENV)/.ready-$(EXTRAS)
RUN := $(VENV)/bin/python

TENSORFLOW := .out/tensorflow-venv
TORCH := .out/torch-venv

.PHONY: help setup demo test frameworks test-frameworks lint format types contract corpus peers scale fuzz mutants detection calibration zoo confusion models clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PYTHON=$(PYTHON) EXTRAS=$(EXTRAS) JOBS=$(JOBS) CORPUS=$(CORPUS) PYTEST_ARGS="

setup: $(READY) ## make .venv with bnopt, onnxruntime (CPU or GPU) and the development tools

$(READY): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "error: no '$(PYTHON)' found; install Python 3.11 or newer, or say: make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$("$(PYTHON)" -V 2>&1) is too old, bnopt needs 3.11 or newer: make PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' lacks the venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@for other in "$(VENV)"/.ready-*; do \
	  if [ -e "$$other" ] && [ "$$other" != "$@" ]; then rm -rf "$(VENV)"; fi; done
	@echo "Setting up $(VENV) with the extras dev,$(EXTRAS) (a minute or two) ..." >&2
	@[ -x "$(RUN)" ] || "$(PYTHON)" -m venv "$(VENV)"
	@"$(RUN)" -m pip install -qq --disable-pip-version-check -e ".[dev,$(EXTRAS)]" || { \
	  echo "error: pip could not install bnopt; its message is above" >&2; exit 2; }
	@touch "$@"

demo: $(READY) ## fold two real models and show that nothing changed but the node count
	@"$(RUN)" tools/demo.py

test: $(READY) ## the whole test suite
	@"$(RUN)" -m pytest -n $(JOBS) $(PYTEST_ARGS)

frameworks: $(TENSORFLOW)/.ready $(TORCH)/.ready ## install TensorFlow and PyTorch, each into a venv of its own

test-frameworks: frameworks ## the tests that need TensorFlow or PyTorch
	@$(TENSORFLOW)/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS) tests/frontends tests/integrations \
	  tests/cli/test_export.py tests/tools/test_zoo.py tests/tools/test_calibration_table.py \
	  tests/tools/test_detection_curve.py tests/tools/test_keras_table.py
	@$(TORCH)/bin/python -m pytest -n $(JOBS) $(PYTEST_ARGS) tests/frontends tests/test_pipelines.py

$(TENSORFLOW)/.ready: pyproject.toml
	@echo "Setting up $(TENSORFLOW) (a minute or two) ..." >&2
	@mkdir -p .out
	@"$(PYTHON)" -m venv $(TENSORFLOW)
	@$(TENSORFLOW)/bin/python -m pip install -qq --disable-pip-version-check -e ".[cpu,dev,tensorflow]" scikit-learn matplotlib
	@touch "$@"

$(TORCH)/.ready: pyproject.toml tools/train_requirements.txt
	@echo "Setting up $(TORCH) (a minute or two) ..." >&2
	@mkdir -p .out
	@"$(PYTHON)" -m venv $(TORCH)
	@$(TORCH)/bin/python -m pip install -qq --disable-pip-version-check -r tools/train_requirements.txt -e ".[cpu,dev]"
	@touch "$@"

lint: $(READY) ## ruff: rules and format
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .

format: $(READY) ## let ruff fix and format the sources
	@"$(RUN)" -m ruff check --fix .
	@"$(RUN)" -m ruff format .

types: $(READY) ## pyright, strict
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" "$(RUN)" -m pyright --pythonpath "$(RUN)"

contract: $(READY) ## import-linter: imports only go down
	@"$(RUN)" -c 'from importlinter.cli import lint_imports_command as run; run()'

corpus: $(READY) ## fold and validate every model of CORPUS=folder
	@"$(RUN)" tools/corpus.py "$(CORPUS)"

peers: $(READY) ## the same folder through five other optimizers (installs them into .peers-venv)
	@"$(RUN)" tools/peers.py "$(CORPUS)"

scale: $(READY) ## a 4 GB model, and chains of up to 20 000 batch norms
	@"$(RUN)" tools/scale.py

fuzz: $(READY) ## 10 000 random graphs, folded and compared in float64
	@"$(RUN)" tools/fuzz.py --graphs 10000 --jobs $(JOBS)

mutants: $(READY) ## take away one exactness condition at a time; a test must fail for each
	@"$(RUN)" tools/mutate.py --jobs $(JOBS)

detection: $(TENSORFLOW)/.ready ## train in TensorFlow; from which step on half-converged statistics are caught
	@$(TENSORFLOW)/bin/python tools/detection_curve.py --jobs $(JOBS) --docs docs

calibration: $(TENSORFLOW)/.ready ## train in TensorFlow, break, calibrate: how much accuracy comes back
	@$(TENSORFLOW)/bin/python tools/calibration_table.py --jobs $(JOBS) --markdown docs/calibration_table.md

zoo: $(TENSORFLOW)/.ready ## train TensorFlow programs of every kind, export, check, repair, fold (an hour)
	@$(TENSORFLOW)/bin/python tools/zoo_table.py --jobs $(JOBS) --markdown docs/zoo.md --models models/zoo

confusion: $(READY) ## how often each rule is right, on the framework exports beside the checkout
	@"$(RUN)" tools/confusion.py --markdown docs/confusion.md

models: $(TORCH)/.ready ## train models/digits_cnn.onnx again (installs PyTorch into .out)
	@$(TORCH)/bin/python tools/train_digits.py

clean: ## remove everything that make has made
	@rm -rf "$(VENV)" .peers-venv .out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis \
	  .import_linter_cache .grimp_cache
	@find bnopt tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
