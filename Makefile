# Two commands for a user: `make run` and `make test`. Both set up what they need.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
NAME ?= nets-gmm40
ARGS ?= preset=laptop
ONLY ?=
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: help run test test-all coverage lint bench smoke claims constraints clean

help:
	@echo "make run         train the main sampler, show its numbers and its page (NAME=, ARGS=)"
	@echo "make test        the fast tests"
	@echo "make test-all    the slow ones too"
	@echo "make coverage    the fast tests, and the share of src they run"
	@echo "make lint        style, types, floors, house rules"
	@echo "make bench       timings against peers (ONLY=name)"
	@echo "make smoke       every experiment's smoke preset, checked, with its time"
	@echo "make claims      every experiment's laptop preset, checked; writes docs/results.md"
	@echo "make constraints write constraints/pyXY.txt from a fresh environment"
	@echo "make clean       remove environments and caches (never runs/)"

run: $(VENV)/.core-ok
	$(BIN)/pushforward run $(NAME) $(ARGS)

test: $(VENV)/.dev-ok
	mkdir -p build/ci
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu and not net" --junitxml=build/ci/test.xml

test-all: $(VENV)/.dev-ok
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not gpu and not net"

coverage: $(VENV)/.dev-ok
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu and not net" \
		--cov=pushforward --cov-report=term:skip-covered

lint: $(VENV)/.dev-ok
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/basedpyright --pythonpath $(BIN)/python src
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house

bench: $(VENV)/.dev-ok
	$(BIN)/python -m benchmarks $(ONLY)

smoke: $(VENV)/.dev-ok
	$(BIN)/python -m benchmarks.smoke $(ONLY)

claims: $(VENV)/.dev-ok
	$(BIN)/python -m benchmarks.claims $(ONLY)

# A stamp says that an environment is whole; a half-made one is completed, not trusted.
$(VENV)/.core-ok: pyproject.toml $(wildcard constraints/*.txt)
	@sh constraints/venv.sh "$(PYTHON)" "$(VENV)" "."
	@touch $@

$(VENV)/.dev-ok: pyproject.toml $(wildcard constraints/*.txt)
	@sh constraints/venv.sh "$(PYTHON)" "$(VENV)" ".[dev]"
	@touch $(VENV)/.core-ok $@

constraints:
	@sh constraints/freeze.sh "$(PYTHON)"

clean:
	rm -rf .venv .venv3* build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
