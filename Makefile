# `make run` and `make test` are the README's two commands; everything else serves them.
.DEFAULT_GOAL := help
.PHONY: help setup run test triton lint format constraints clean
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

help:  ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("s2tx needs Python 3.11 or newer, found " + sys.version.split()[0] + ": set PYTHON=python3.12, say") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup: $(STAMP)  ## Make .venv from constraints.txt

run: $(STAMP)  ## Data -> validated -> trained -> scored -> registered -> forecast
	$(BIN)/python -m flows.nightly --pull

test: $(STAMP)  ## All tests, the slow ones last
	$(BIN)/python -m pytest -n auto

triton: $(STAMP)  ## Add Triton, whose tests of the GPU kernels need no GPU
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[triton]"

lint: $(STAMP)  ## What CI and the hooks check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(STAMP)  ## Resolve constraints.txt anew (torch's local build tags are taken off)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra bench --universal --no-annotate --no-header --quiet --output-file constraints.txt
	sed -i -E '/^(nvidia-|cuda-|triton)/d; s/^(torch==[0-9.]+).*/\1/' constraints.txt
	sort -u -o constraints.txt constraints.txt

clean:  ## Remove what can be made again (never data/, mlruns/ or the DVC cache)
	rm -rf artifacts .pytest_cache .mypy_cache .ruff_cache
