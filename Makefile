# Two commands: `make quickstart` and `make test`. Each makes .venv, installs what it needs and does its work.
# Another interpreter: make test PYTHON=python3.12. More processes for the tests: make test WORKERS=4

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# The first interpreter among these that is Python 3.11 to 3.13.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)

.PHONY: quickstart test lint format wheel clean

quickstart: $(VENV)/.quickstart-installed  ## train, export and serve two small models
	$(BIN)/albert-gpt-tf quickstart

test: $(VENV)/.dev-installed  ## lint and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.dev-installed
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info quickstart_output

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Expected Python 3.11, 3.12 or 3.13 on the PATH; give it as PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# A stamp is newer than setup.cfg once its extra is installed.
$(VENV)/.%-installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
