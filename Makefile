# The few commands a person needs. Every recipe works from a fresh clone; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help venv up down clean check test demo chaos bench lock fuzz simulate fmt prometheus screenshots

# The first Python on the path that is new enough, whatever it is called.
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
STACK := $(PYTHON) deploy/stack.py
BIN := .venv/bin
# Registries are shared and far away: a read that stalls is asked again before an install is given up.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 10 --timeout 60
CODE := schemas tables agents streams tests deploy docs/examples
# Addresses are locked out: whoever installs names the index they trust. Extras stay in the pins: for
# `coverage[toml]` pip looks past a pin of `coverage` to a newer release, and then misses its hash.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-strip-extras \
	--custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

venv: .venv/.complete ## the virtual environment, from the locked requirements

.venv/.complete: deploy/requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Install Python 3.11 or newer first." >&2; exit 1; }
	@$(STACK) install venv
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r deploy/requirements-dev.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

up: ## start Kafka, PostgreSQL and Redis; addresses in .local/stack.env
	@$(STACK) up

down: ## stop what `up` started
	@$(STACK) down

clean: ## down, and forget all data
	@$(STACK) clean

check: venv ## lint, format, types, directions of imports
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# `run` brings the stack up, and stops afterwards what was not up before, also when tests fail.
# Three files at a time on two cores, because most tests wait; in the order that tests/conftest.py says.
# Nothing is printed after pytest's closing line.
test: venv check ## check, then every test on the real stack; ARGS="-k name" narrows it
	@$(STACK) tools
	@$(STACK) run -- $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# At a terminal the console stays open until Enter or Ctrl-C; then everything ends that was started.
demo: venv ## 20,000 orders, one kill, the verdict, and the console to look at it
	@$(STACK) run -- $(BIN)/orderflow demo $(ARGS)

chaos: venv ## break the whole house under load and count everything; ARGS="--seed 7"
	@$(STACK) tools
	@$(STACK) run -- $(BIN)/orderflow chaos $(ARGS)

# What the peers need is installed and built on the first call; one that cannot be is named with the reason.
bench: venv ## reserve by orderflow and its peers, in turn, ten minutes; ARGS="--peers orderflow,faust"
	@$(STACK) run -- $(BIN)/python -m tests.bench $(ARGS)

lock: venv ## compile the requirements anew; UPGRADE=1 takes the newest versions
	$(COMPILE) deploy/requirements.in -o deploy/requirements.txt
	$(COMPILE) deploy/requirements-dev.in -c deploy/requirements.txt -o deploy/requirements-dev.txt
	$(COMPILE) deploy/requirements-bench.in -o deploy/requirements-bench.txt

fuzz: venv ## change payloads for MINUTES=20 a platform; only Rejected may leave an adapter
	$(BIN)/python -m tests.adapters.fuzzing --minutes $(or $(MINUTES),20) $(ARGS)

simulate: venv ## live through SEEDS=5000 simulated towns under faults, on all cores; ARGS="--seed 7 --trace"
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),5000) $(ARGS)

prometheus: venv ## fetch promtool and amtool, and try the rules for Prometheus
	@$(STACK) tools
	$(BIN)/python -m pytest -q tests/rules/test_prometheus_rules.py

screenshots: venv ## take the pictures in docs/screens anew
	@$(STACK) tools
	@SCREENS_TO=docs/screens $(STACK) run -- $(BIN)/python -m pytest -q tests/browser -k picture

fmt: venv ## format, and fix what can be fixed
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)
