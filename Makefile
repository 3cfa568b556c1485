# Each target does its own set-up in .venv, once; it is done again only when what it depends on has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test torture check bench format clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

torture: $(VENV)/.installed-dev
	GPTSMITH_TORTURE_WRITER=1000 GPTSMITH_TORTURE_TRAINING=50 $(BIN)/python -m pytest --timeout 3600 -k killed \
		tests/run/test_writer.py tests/workflows/test_nothing_is_lost.py

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_floors.py

bench: $(VENV)/.installed-dev
	$(BIN)/python bench/shakespeare.py
	$(BIN)/python bench/gpt2_step.py
	$(BIN)/python bench/tokenizer.py
	$(BIN)/python bench/news.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "gptsmith needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "setting up $(VENV): PyTorch is large, this takes a few minutes the first time"
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@
