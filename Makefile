# `make demo`, `make test` and `make lint` do everything on a fresh machine, set-up included.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CODE := benchmark.py models datasets distillers experiments results tools
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test test-all fuzz lint check-tables format setup setup-dev clean

help:  ## list the targets (this is the default)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## train, tabulate and show eight methods and the student alone on real handwritten digits
	$(BIN)/python benchmark.py run experiments/digits.yaml
	$(BIN)/python benchmark.py table experiments/digits.yaml
	$(BIN)/python benchmark.py report experiments/digits.yaml --output report/digits

test: setup-dev  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup-dev  ## also test every method on all kinds of pairs and every torchvision network: 20 minutes
	OMP_NUM_THREADS=1 KD_ALL_PAIRS=1 KD_ALL_MODELS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

fuzz: setup-dev  ## 10,000 new examples of every property-based test: an hour or more
	OMP_NUM_THREADS=1 KD_FUZZ=10000 $(BIN)/python -m pytest -n 2 --dist worksteal tests/fuzz

lint: setup-dev  ## check format, style and types
	$(BIN)/ruff format --check $(CODE) tests
	$(BIN)/ruff check $(CODE) tests
	$(BIN)/mypy

check-tables: setup  ## check that the committed tables are what their records give
	$(BIN)/python tools/check_tables.py

format: setup-dev  ## rewrite the code in the project's format
	$(BIN)/ruff format $(CODE) tests
	$(BIN)/ruff check --fix $(CODE) tests

setup: $(VENV)/.installed  ## create .venv with what training needs

setup-dev: $(VENV)/.installed-dev  ## also install what tests and lint need

# The stamps record what was installed: a changed requirements file installs again.
$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt
	touch $@

clean:  ## remove the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
