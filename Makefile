# Each target does its own set-up in .venv, once; it is done again only when what it depends on has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

LLAMA_CPP := $(shell sed -n 's/^llama_cpp_python==//p' constraints.txt)
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gptsmith/wheels

.PHONY: demo test stories interop torture fuzz wheel docs check bench soak format clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/interop -m "not story"

# Stories: long ways through the whole program, in a browser or in several processes.
stories: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/interop -m story

# llama.cpp is built from its source once for each version, Python and machine: ten minutes of a core. Needs Go too.
interop: $(VENV)/.installed-interop
	$(BIN)/python -m pytest -n 2 tests/interop

torture: $(VENV)/.installed-dev
	GPTSMITH_TORTURE_WRITER=1000 GPTSMITH_TORTURE_TRAINING=50 $(BIN)/python -m pytest --timeout 3600 -k killed \
		tests/run/test_writer.py tests/workflows/test_nothing_is_lost.py

# Mutated files through every reader; CASES of each file.
CASES ?= 1000
fuzz: $(VENV)/.installed-dev
	GPTSMITH_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest -n 2 --timeout 36000 tests/fuzz

# A wheel is built, installed alone into a fresh environment, and used there.
wheel: $(VENV)/.installed-dev
	PYTHON=$(PYTHON) .ci/wheel

# The documentation as a site, in site/.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

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

# Ten sorts of bad clients beside good ones, for SECONDS, against a chat model: make soak RUN=runs/mine-sft
soak: $(VENV)/.installed-dev
	$(BIN)/python bench/soak.py $(RUN) $(or $(SECONDS),600)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

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

# The wheel works on other machines of this kind, since nothing in it is for this very processor but the usual extensions.
$(VENV)/.installed-interop: $(VENV)/.installed-dev
	@set -e; folder="$(WHEELS)/$(LLAMA_CPP)-$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')"; \
	if ! ls "$$folder"/llama_cpp_python-$(LLAMA_CPP)-*.whl > /dev/null 2>&1; then \
		echo "building llama.cpp into $$folder: ten minutes of a core, once"; \
		rm -rf "$$folder.building"; \
		CMAKE_ARGS="-DGGML_NATIVE=OFF" CMAKE_BUILD_PARALLEL_LEVEL="$$(nproc)" $(BIN)/python -m pip wheel --quiet \
			--disable-pip-version-check --no-binary llama-cpp-python --no-deps --wheel-dir "$$folder.building" \
			llama-cpp-python==$(LLAMA_CPP); \
		rm -rf "$$folder"; mv "$$folder.building" "$$folder"; \
	fi; \
	$(PIP) "$$(ls "$$folder"/llama_cpp_python-$(LLAMA_CPP)-*.whl)"
	@touch $@
