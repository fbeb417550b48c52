# `make run` does the main job, `make test` all checks. Each makes its own virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint types unit gpu-test clean

run: $(READY)
	$(BIN)/kbench run problems/ solutions/

test: lint types unit

lint: $(READY)
	$(BIN)/ruff check kbench tests problems solutions benchmarks

types: $(READY)
	$(BIN)/mypy

# Two files at a time: more than half of it is waiting for processes.
unit: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

gpu-test: $(READY)
	$(BIN)/python -m pytest -m gpu

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kbench needs Python 3.11 or newer (make PYTHON=python3.12)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV)
