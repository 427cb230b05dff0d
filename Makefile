# Two commands set everything up: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test check unit notebooks node-modules coverage bench soak lock wheel clean

# Compiled modules are kept: without them each of the tests' many processes compiles its own.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
PYTEST_ARGS ?=
# WORKERS=2 runs two files of tests at a time, in two thirds of the time.
WORKERS ?= 0
SOAK_MINUTES ?= 10
UPGRADE ?=

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## build .venv from requirements.lock; a moment when nothing changed
	@scripts/setup.sh

run: setup ## start a Host with its gateway and the control centre; Ctrl-C ends it
	@exec $(BIN)/bkg host --web

test: setup check node-modules ## everything: format, lint, types, imports, tests, notebooks
	$(PYTEST) -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)
	$(BIN)/python scripts/notebooks.py

check: setup ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: setup ## the tests that need neither a browser nor more than a few seconds
	$(PYTEST) -m "not slow and not browser and not soak" $(PYTEST_ARGS)

notebooks: setup ## run every notebook and runbook through nbval, in a workspace of its own
	$(BIN)/python scripts/notebooks.py

node-modules: ## the `ws` package for the tests that speak from Node
	@scripts/node-modules.sh > /dev/null

coverage: setup ## branch coverage of the package
	$(PYTEST) --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

bench: setup ## every comparison in benchmarks/; prints figures, asserts none
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

soak: setup node-modules ## every fault row, the long ones too; writes docs/reliability.md (SOAK_MINUTES=10)
	SOAK_MINUTES=$(SOAK_MINUTES) $(PYTEST) -m "row or soak" --reliability=docs/reliability.md $(PYTEST_ARGS)

lock: ## write requirements.lock anew, and each plug-in's; UPGRADE=1 takes newer versions
	@scripts/lock.sh $(if $(UPGRADE),--upgrade)

wheel: setup ## dist/*.whl, with the workspace that `bkg init` lays out
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation --outdir dist

clean: ## remove what the targets above made, .venv too; .bkg and dist's sources stay
	rm -rf .venv dist build htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.bkg/*' -type d -prune -exec rm -rf {} +
