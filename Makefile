# Two commands that set themselves up: `make search` and `make test`.
# `make` alone lists what there is.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable
WOULD_DO := Python 3.11 to 3.13 would do, for example: make $(MAKECMDGOALS) PYTHON=python3.12

.DEFAULT_GOAL := help
.PHONY: help search test lint docs

help:
	@echo 'make search   search for a hybrid-attention model     ARGS="seed=1 ..." adds options'
	@echo 'make test     run the tests on every core             ARGS="-k name" adds options'
	@echo 'make lint     check format, lint and types'
	@echo 'make docs     build the guides and the reference into site/'
	@echo 'Each installs what it needs into $(VENV)/ first.        PYTHON=python3.12 picks an interpreter'

search: $(VENV)/.installed
	$(BIN)/python -m nas.search +space=token_hybrid $(ARGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=16 --dist=worksteal $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'Open site/index.html; with search at http://localhost:8000: $(BIN)/mkdocs serve'

# A stamp is older than pyproject.toml, or than the interpreter, when there is something to install again.
# The dev extra contains test, and test contains docs.
$(VENV)/.installed: pyproject.toml $(BIN)/python
	@echo 'Installing into $(VENV)/ (the first time fetches PyTorch) ...'
	@$(INSTALL) .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(BIN)/python
	@echo 'Installing into $(VENV)/ with the $* extra (the first time fetches PyTorch) ...'
	@$(INSTALL) '.[$*]'
	@touch $(VENV)/.installed $@ $(if $(filter dev,$*),$(VENV)/.installed-test $(VENV)/.installed-docs)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo 'PYTHON=$(PYTHON) is not installed; $(WOULD_DO)' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	    "PYTHON=$(PYTHON) is Python %d.%d; $(WOULD_DO)" % v)'
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }
