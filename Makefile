# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint bench firmware vectors lock clean system-packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(VENV)/.demo ## make .venv with everything the demo needs

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Tryggport needs Python 3.11 or newer. Install it, or name it: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 2; }
	@echo 'Setting up .venv (once) ...'
	@$(PYTHON) -m venv $(VENV) || { echo 'Python lacks the venv module. Type: sudo apt-get install python3-venv'; exit 2; }
	@touch $@

$(VENV)/.demo: requirements.txt pyproject.toml | $(VENV)/.python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.demo ## run the main job: a fall becomes a signed, receipted alarm (ONCE=1: without keys to press)
	@$(BIN)/tryggport demo $(if $(ONCE),--once)

system-packages:
	@sh tests/system-packages.sh

test: $(VENV)/.dev system-packages ## run all tests (under 20 minutes on 2 cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-long: $(VENV)/.dev system-packages ## run the tests that take long
	@$(BIN)/python -m pytest -m long

lint: $(VENV)/.dev ## check style, types, layers, generated files and requirement ids
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python protocols/generate.py --check
	@$(BIN)/python protocols/requirements.py

bench: $(VENV)/.dev system-packages ## measure, and write tests/bench/results.md
	@$(BIN)/python -m tests.bench

firmware: $(VENV)/.demo ## build the firmware and flash images into build/
	@$(BIN)/tryggport flash --board virtual --image build/virtual.bin

vectors: $(VENV)/.dev ## write protocols/vectors/ anew
	@$(BIN)/python protocols/generate.py

lock: ## resolve the locked requirements anew (needs uv)
	uv pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --extra setup --extra dev pyproject.toml -o requirements-dev.txt
	uv pip compile --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -c requirements-dev.txt --extra setup pyproject.toml -o requirements.txt

clean: ## remove .venv and build/
	rm -rf $(VENV) build
