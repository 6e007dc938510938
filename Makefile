# One target for each thing people do. `make demo` and `make test` install what they need.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
N      ?= 100
# For two cores: while one worker waits for a server or a clock, another computes. Three workers used only two thirds of two
# cores (all tests: 1,002 CPU-seconds in 766 s).
WORKERS ?= 4

.PHONY: help demo up docs test test-fast prove test-pooler check format lock install install-dev bench-simulation bench-faults bench-fleet bench-deliveries bench-checks bench-years
help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: install    ## a day of the sample series through the whole pipeline, on the sandbox: no key, no money
	$(BIN)/dailies demo

up: install      ## everything local, until Ctrl-C
	$(BIN)/dailies up

# Compiling the tests takes each worker six CPU-seconds, so keep the compiled files, which containers often forbid.
test test-fast test-pooler: export PYTHONDONTWRITEBYTECODE :=

test: install-dev ## all tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

# None of its tests waits, and each worker needs thirteen CPU-seconds to collect them.
test-fast: WORKERS = 2
test-fast: install-dev ## the tests that start no process and take little CPU each
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(ARGS)

prove: install-dev ## the long proofs, for a night: repetition, twenty times the examples, histories, a storm on each database
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'night or hypothesis' $(ARGS)
	$(BIN)/python -m proof.simulation --minutes 30
	$(BIN)/python -m proof.faults --clips $(N)
	$(BIN)/python -m proof.faults --clips $(N) --database postgresql

test-pooler: install-dev ## the ledger's tests on PostgreSQL behind a pgbouncer in transaction mode
	DAILIES_TEST_POOLER=transaction $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'night or not night' tests/ledger -k 'not sqlite'

check: install-dev ## format, lint, types, import rules, definitions, links of the site
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python docs/house.py --check
	$(BIN)/python docs/providers.py --check
	$(BIN)/dg check defs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs: install-dev ## the site of docs/, into site/; ARGS=serve shows it at 127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build)
	@echo "site/index.html"

format: install-dev ## format, and let ruff fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-faults: N = 1000
bench-transfer: N = 20
bench-deliveries: N = 200
bench-checks: install-dev ## how often the checks of a clip are wrong, and what they cost
	$(BIN)/python -m bench.checks $(ARGS)

bench-simulation: install-dev ## crashes, lost answers and races in virtual time (hours; ARGS='--minutes 15' for less)
	$(BIN)/python -m proof.simulation $(ARGS)

bench-fleet: N = 48
bench-fleet: install-dev ## several hosts: a cable out, a run killed or frozen, a clock ahead, no database (twelve minutes; needs root for namespaces)
	$(BIN)/python -m proof.fleet --clips $(N) $(ARGS)

bench-faults: install-dev ## real processes under faults, e.g. ARGS='--database postgresql'
	$(BIN)/python -m proof.faults --clips $(N) $(ARGS)

bench-deliveries: install-dev ## workers killed while they deliver
	$(BIN)/python -m proof.deliveries --clips $(N) $(ARGS)

bench-years: install-dev ## how three years of clips slow ticks and pages and fill disks (about ten minutes)
	$(BIN)/python -m bench.years --markdown $(ARGS)

bench-%: install-dev ## a benchmark of bench/, e.g. make bench-throughput N=100
	$(BIN)/python -m bench.$* --clips $(N) $(ARGS)

# wheels only: nobody needs a compiler
LOCKED  := --no-deps --require-hashes --only-binary :all:
INSTALL := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install --disable-pip-version-check)

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dailies needs Python 3.11 or newer; '$(PYTHON)' is older. Name one that is: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "installing $$(grep -c '==' requirements.lock) packages into $(VENV), once: one to three minutes, less with uv"
	$(INSTALL) $(LOCKED) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(INSTALL) $(LOCKED) -r requirements-dev.lock
	@touch $@

LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links -q
lock:            ## resolve the dependencies anew into the lock files (needs uv)
	$(LOCK) --group build -o requirements.lock
	$(LOCK) --group build --extra fleet -c requirements.lock -o requirements-fleet.lock
	$(LOCK) --group build --group dev --extra fleet -c requirements-fleet.lock -o requirements-dev.lock
	@# a release may have wheels for one system only: try each
	for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin; do \
	  MACOSX_DEPLOYMENT_TARGET=14.0 uv pip install -q --dry-run $(LOCKED) --python-platform $$platform --target $(VENV)/none -r requirements-dev.lock || exit 1; \
	done
