# make demo   the whole twin on this machine, no account and no GPU needed   (make demo ARGS="--script --engine local")
# make test   every check: format, lint, types, imports, tests side by side  (make test ARGS="tests/bot -x" runs some of the tests)
# make venv   .venv with everything that this machine can use
# make lint   the checks that need no run
# make bench  the benchmarks, one after the other; each prints its figures as a last line of JSON

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin

# Waiting threads of OpenMP must not spin: they starve whatever else runs on few cores.
export OMP_WAIT_POLICY ?= PASSIVE
# Base models are converted once (17 s for the sample model), not once for each data folder and test run.
export TWIN_MODELS ?= $(CURDIR)/build/models

.PHONY: help demo test venv lint bench

help:
	@sed -n 's/^# make/make/p' Makefile

venv:
	@bash deploy/venv.sh

demo: venv
	@exec $(BIN)/twin demo $(ARGS)

test: venv
	@bash deploy/browser.sh
	@$(MAKE) --no-print-directory lint
	@exec bash deploy/pytest.sh $(ARGS)

lint: venv
	@failed=0; for check in "ruff format --check ." "ruff check ." mypy lint-imports; do \
	  echo "== $$check"; $(BIN)/$$check || failed=1; done; exit $$failed

bench: venv
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet -e '.[bench]'
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done
