# `make demo` and `make test` do everything on a fresh machine, set-up included.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CODE := benchmark.py models datasets distillers experiments results tools

.PHONY: demo test test-all lint format setup clean

demo: setup  ## student alone and eight methods, three trials, on real handwritten digits
	$(BIN)/python benchmark.py run experiments/digits.yaml
	$(BIN)/python benchmark.py table experiments/digits.yaml

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup  ## every method on pairs of all kinds, every network of torchvision: 20 minutes on two cores
	OMP_NUM_THREADS=1 KD_ALL_PAIRS=1 KD_ALL_MODELS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff format --check $(CODE) tests
	$(BIN)/ruff check $(CODE) tests
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format $(CODE) tests
	$(BIN)/ruff check --fix $(CODE) tests

setup: $(VENV)/.installed

# Made again when requirements.txt changes.
$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:  ## the environment and caches; runs/ and data/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
