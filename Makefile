# Everything is built into .venv from the locks, with hashes; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -qq
# Its wheels bring the agent itself along, 400 MB of it
FROM_SOURCE := --no-binary claude-agent-sdk
# More arguments for the program behind a target: make test ARGS='-k queue', make run ARGS=--debug
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help dev run demo test check format bench bench-peers redaction-report chaos fuzz soak lock dist clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 \t/p' Makefile | expand -t 13

# Two stamps: what it takes to run, and on top of it what it takes to develop. The package itself is
# installed editable by the backend that the lock names, so that nothing is fetched without a hash.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sessiond needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements.lock pyproject.toml
	$(PIP) install --require-hashes --requirement requirements.lock
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.lock
	$(PIP) install --require-hashes --no-build-isolation $(FROM_SOURCE) --requirement requirements-dev.lock
	@touch $@

dev: $(VENV)/.dev ## .venv with all that tests and checks need

run: $(VENV)/.run ## the daemon in the foreground
	@exec $(BIN)/sessiond run $(ARGS)

demo: $(VENV)/.run ## sessions saved, pushed to a fake GitHub through every fault, one lost and restored
	@$(BIN)/python -m tests.demo $(ARGS)

# A short name for the folder of what tests leave: the path of a socket may have 103 bytes.
# Three workers a core, since most of the time a test waits for a process.  What is compiled is kept: else
# each worker does it for every test, and each process that a test starts for all of the program.
WORKERS ?= $(shell expr 3 '*' $$(getconf _NPROCESSORS_ONLN))
test: $(VENV)/.dev ## every test, and a short run of fuzz and soak
	@t=$$(mktemp -d) && trap 'rm -rf "$$t"' EXIT && \
	  PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder \
	  --basetemp "$$t/t" $(ARGS)

check: $(VENV)/.dev ## format, lint, types, direction of imports
	$(BIN)/ruff format --check --diff --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev ## write what check would ask for
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

bench: $(VENV)/.dev ## measure, beside the peers that are installed; the table goes to build/bench.md
	AGENTSVIEW=$${AGENTSVIEW:-$(wildcard $(VENV)/peers/bin/agentsview)} $(BIN)/python -m tests.bench $(ARGS)

PEERS := rsync:rsync restic:restic borg:borgbackup lsyncd:lsyncd syncthing:syncthing
bench-peers: $(VENV)/.dev ## measure, after installing those peers: rsync, restic, borg, lsyncd, syncthing, agentsview
	@missing=; for pair in $(PEERS); do \
	  command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; done; \
	test -z "$$missing" || \
	if command -v brew >/dev/null; then brew install $$missing; \
	elif command -v dnf >/dev/null; then sudo dnf install -y $$missing; \
	elif test "$$(id -u)" = 0; then apt-get install -y $$missing; else sudo apt-get install -y $$missing; fi
	@test -x $(VENV)/peers/bin/agentsview || \
	  { $(PYTHON) -m venv $(VENV)/peers && $(VENV)/peers/bin/python -m pip install --quiet agentsview; }
	@$(MAKE) --no-print-directory bench

redaction-report: $(VENV)/.dev ## rules for secrets beside two public scanners, which it installs
	$(PIP) install --target $(VENV)/redaction --upgrade --requirement requirements-redaction.txt
	PYTHONPATH=$(VENV)/redaction $(BIN)/python -m tests.redaction $(ARGS)

chaos: $(VENV)/.dev ## kills and faults at random for minutes
	$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.dev ## a million broken inputs for everything that reads what others wrote; ARGS='--seed N'
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.dev ## half an hour of traffic and faults, and nothing the daemon holds may grow; ARGS='--minutes N'
	$(BIN)/python -m tests.soak $(ARGS)

# The development lock is compiled on top of the other, so both name the same versions.
COMPILE := CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
  --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
  --resolver=backtracking --pip-args='$(FROM_SOURCE)' pyproject.toml

lock: $(VENV)/.dev ## requirements*.lock from pyproject.toml; ARGS=--upgrade for the newest of everything
	$(COMPILE) --build-deps-for editable --output-file requirements.lock $(ARGS)
	$(COMPILE) --build-deps-for editable --constraint requirements.lock --extra dev --output-file requirements-dev.lock $(ARGS)

dist: $(VENV)/.dev ## wheel and source archive in dist/, each tried in an empty environment
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python -m tests.dist dist

clean: ## away with .venv, caches and dist/
	rm -rf $(VENV) build dist fuzz-failures .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src daemon tests -name __pycache__ -prune -exec rm -rf {} +
