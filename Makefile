# Every target does its own set-up: a virtual environment in .venv, made anew when pyproject.toml changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo
# A file of tests stays in one process, since its tests share what they compile.
PARALLEL ?= -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# Half of the suite is compiling: `make test` takes options that make it quick, `make test-all` compiles as in use.
QUICK    ?= $$($(BIN)/python tests/quick_compilation.py)

.PHONY: demo test test-all lint format setup clean

demo: $(VENV)/.core
	$(BIN)/jaxlm train experiments/shakespeare_gpt.py --dir $(DEMO)
	$(BIN)/jaxlm evaluate $(DEMO)
	$(BIN)/jaxlm generate $(DEMO) --prompt "ROMEO:" --max-new-tokens 300 --temperature 0.8
	@echo "report: $(DEMO)/report.html   try: $(BIN)/jaxlm generate $(DEMO) --prompt \"JULIET:\""

test: $(VENV)/.dev
	XLA_FLAGS="$(QUICK)" $(BIN)/python -m pytest $(PARALLEL)

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "slow or not slow"

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.dev

clean:
	rm -rf $(VENV) runs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "jaxlm needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "this Python cannot make virtual environments (on Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxlm and its dependencies in $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxlm with its development tools in $(VENV) (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.core $@
