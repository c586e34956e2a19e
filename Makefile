# `make` lists what there is. Everything happens in .venv, which is made on first use from $(PYTHON) (3.10 or newer).

PYTHON ?= python3
PYTEST_ARGS ?=
FUZZ_EXAMPLES ?= 20000
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
JOBS ?= 1
SIMULATE_RUNS ?= 5000
RUNS ?= 20
BENCH_ARGS ?=
MATRIX_ARGS ?= --split --special
SOAK_SECONDS ?= 120
SOAK_ARGS ?=

VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
PLAIN := $(BIN)/python -m pytest
PATCHED := $(BIN)/python -m gevent.monkey --module pytest
SHELL := /bin/sh

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo lint style check test tools timings plain patched packaging lab surveys matrix soak versions fuzz properties simulate bench docs dist clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'

venv: $(STAMP) ## make .venv with crust and everything its development needs

$(STAMP): pyproject.toml setup.py .ci/venv
	@echo "crust: installing into $(VENV), once; this takes half a minute" >&2
	@sh .ci/venv "$(PYTHON)" "$(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## two programs find each other by key, talk, send a file, and survive a cut link
	@$(BIN)/crust demo

lint: style ## ruff and mypy
	$(BIN)/mypy

style: $(STAMP) ## ruff
	$(BIN)/ruff check .

check: lint ## lint and the fast tests: under a minute, no root, run it often
	$(BIN)/python .ci/suite --quick $(PYTEST_ARGS)

test: style tools ## everything: the whole suite on threads, on gevent, and from an installed wheel, side by side
	$(BIN)/python .ci/suite $(PYTEST_ARGS)

tools: ## install what some tests run and pip does not have, if this is root's Debian
	@sh .ci/tools

timings: $(STAMP) ## measure the tests, and list those that `make check` leaves out: tests/slow.txt (a quarter of an hour)
	$(BIN)/python -m tests.support.slow $(PYTEST_ARGS)

plain: $(STAMP) ## the suite on threads
	$(PLAIN) -m 'not packaging' $(PYTEST_ARGS)

patched: $(STAMP) ## the same suite on greenlets
	$(PATCHED) -m 'not packaging' $(PYTEST_ARGS)

packaging: $(STAMP) ## build the wheel, install it from wheels alone, use it
	$(PLAIN) -m packaging $(PYTEST_ARGS)

lab: $(STAMP) tools ## the tests in a laboratory of network namespaces: as root, on Linux
	CRUST_REQUIRE_LAB=1 $(PLAIN) tests/natlab $(PYTEST_ARGS)

surveys: $(STAMP) tools ## punch-test report at every kind of site, RUNS times, on a good network and a poor one: as root
	$(BIN)/python -m tests.natlab.surveys --runs $(RUNS)
	$(BIN)/python -m tests.natlab.surveys --runs $(RUNS) --delay 100 --loss 5

matrix: RUNS = 3
matrix: $(STAMP) tools ## two nodes at every pair of kinds of sites, by TCP, UDP, and both, RUNS times (3); MATRIX_ARGS; as root
	@mkdir -p build
	$(BIN)/python -m tests.natlab.matrix --runs $(RUNS) --markdown build/matrix.md --logs build/matrix $(MATRIX_ARGS)

soak: $(STAMP) tools ## a mesh of nodes there is hurt for SOAK_SECONDS (120; 7200 for the record): nothing may be lost or left; as root
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS) $(SOAK_ARGS)

versions: $(STAMP) ## the suite on every Python from 3.10 to 3.13 at hand, installed from wheels alone
	@sh .ci/versions

fuzz: $(STAMP) ## coverage-guided fuzzing of all that reads strangers' bytes: FUZZ_SECONDS each, JOBS at a time; FUZZ_TARGETS
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary atheris --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --jobs $(JOBS) $(FUZZ_TARGETS)

properties: $(STAMP) ## the property tests with many more examples (FUZZ_EXAMPLES each)
	CRUST_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PLAIN) -q -p tests.support.fuzz -m hypothesis --timeout 0 $(PYTEST_ARGS)

simulate: $(STAMP) ## µTP, punching, gossip on simulated networks: all scenarios, SIMULATE_RUNS bad networks, plots of docs/
	CRUST_SIMULATE_RUNS=$(SIMULATE_RUNS) $(PLAIN) -q --timeout 0 $(PYTEST_ARGS) \
		tests/transports/utp/test_simulated_sharing.py tests/transports/utp/test_simulated_trials.py tests/nat/punch
	$(BIN)/python -m tests.simulation.plots
	$(BIN)/python -m tests.simulation.gossip --plots docs/gossip-plots

bench: $(STAMP) ## crust beside raw TCP, ssl, pyzmq and websockets: ratios and targets (half an hour; BENCH_ARGS)
	$(BIN)/python tools/bench $(BENCH_ARGS)

docs: $(STAMP) ## write the generated parts of the documents anew, and build the pages: build/docs/index.html
	$(BIN)/python -m tests.support.documents
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs

dist: $(STAMP) ## build the wheel and the source archive into dist/, install each anew, and test it
	@sh .ci/dist

clean: ## remove what was built, .venv included
	rm -rf .venv .venvs build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find crust tests -name __pycache__ -type d -prune -exec rm -rf {} +
