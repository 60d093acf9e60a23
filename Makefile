# Parallel Flow for VisTrails. `make` alone lists what there is.

# The Python that the environment is made with, and the place of the environment.
PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin

# Debian's package of VisTrails, for a machine without apt that its file was brought to.
VISTRAILS ?=

# VISUAL=1 also installs what VisTrails' cells and bundled packages are for: matplotlib, VTK, a web engine and others, 1 GB.
# Nothing else counts: the same variable in the environment usually names an editor.
LARGE = $(if $(filter 1,$(VISUAL)),--visual)

# What only runs the project goes without what tests, checks and documents it, which takes as long to install as all the rest.
ONLY_RUN =

# Where `make bench` puts its tables and plots.
OUT ?= build/bench

# How many processes run the tests. Most of their time they wait, so more than there are cores.
WORKERS ?= 5
IN_PARALLEL = --numprocesses $(WORKERS) --dist loadgroup

# What `make test-fast` leaves out; pyproject.toml says what these mean.
LONG = slow or cluster or window or machines or host or kills

.DEFAULT_GOAL := help
.PHONY: help setup demo vistrails test test-fast test-all test-kept examples-check coverage check bench soak pictures mouse docs clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup:  ## make or update the environment: VisTrails, this project, the tools
	@command -v "$(PYTHON)" > /dev/null || { \
	  echo "make setup: there is no '$(PYTHON)' here; this project needs Python 3.10 or later." \
	    "Install it (on Debian, as root: apt-get install python3 python3-venv)," \
	    "or name yours, as in: make setup PYTHON=python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m host $(LARGE) $(ONLY_RUN) $(if $(VISTRAILS),--vistrails "$(VISTRAILS)") "$(VENV)"

demo: ONLY_RUN = --without-tools
demo: setup  ## run the example: a map over a cluster that it starts and stops
	@$(BIN)/python examples/demo.py

vistrails: VISUAL = 1
vistrails: ONLY_RUN = --without-tools
vistrails: setup  ## open VisTrails' window with this package enabled
	@$(BIN)/python -m host.vistrails_window $(FILES)

test: VISUAL = 1
test: setup  ## run all tests
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(IN_PARALLEL)

test-fast: setup  ## run the tests that take less than a minute all together; what one runs while writing
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(IN_PARALLEL) -m "not ($(LONG))"

test-kept: setup  ## run the tests that compare with the serial Map once more, with every element taken from kept results
	@PARITY_KEPT=1 QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest $(IN_PARALLEL) tests/map -k parity

# The versions of Python that `make test-all` looks for: on the path, and where pyenv keeps them.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13

# Under another name, so that `make -n test-all` runs nothing.
AGAIN = $(MAKE) --no-print-directory

test-all:  ## run all tests on each supported Python that is here, with the newest dependencies, and once with the oldest
	@oldest=; tested=; skipped=; failed=; \
	for name in $(PYTHONS); do \
	  python=; \
	  for candidate in "$$(command -v $$name)" "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/$$name; do \
	    if test -x "$$candidate" && "$$candidate" -c "" 2> /dev/null; then python=$$candidate; break; fi; \
	  done; \
	  test -n "$$python" || { skipped="$$skipped $$name"; continue; }; \
	  oldest=$${oldest:-$$python}; \
	  echo "make test-all: $$name with the newest dependencies"; \
	  rm -rf .venv-$$name; \
	  if $(AGAIN) test PYTHON=$$python VENV=.venv-$$name; then tested="$$tested $$name"; \
	  else failed="$$failed $$name"; fi; \
	done; \
	test -n "$$oldest" || { echo "make test-all: none of these is here: $(PYTHONS)" >&2; exit 1; }; \
	echo "make test-all: $$oldest with the oldest dependencies"; \
	rm -rf .venv-lowest; \
	if PIP_CONSTRAINT=$(CURDIR)/tests/lowest.txt $(AGAIN) test PYTHON=$$oldest VENV=.venv-lowest; \
	then tested="$$tested oldest-dependencies"; else failed="$$failed oldest-dependencies"; fi; \
	echo "make test-all: passed:$${tested:- none}; failed:$${failed:- none}; not on this machine:$${skipped:- none}"; \
	test -z "$$failed"

examples-check: VISUAL = 1
examples-check: setup  ## run all of VisTrails' own examples in its window; those that fail go to build/examples.txt
	@EXAMPLES=all QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest tests/host/test_example_*.py; \
	  status=$$?; cat build/examples.txt; exit $$status

coverage: VISUAL = 1
coverage: setup  ## run all tests and show which lines they reach, those that run in engines included
	@rm -f .coverage .coverage.*
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m coverage run -m pytest $(IN_PARALLEL)
	@find . -maxdepth 1 -name '.coverage.*' -empty -delete  # of processes that were killed at once
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage html --quiet
	@$(BIN)/python -m coverage report

check: setup  ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup  ## measure speed and size against the serial Map and others; OUT=docs/figures renews the guide's
	@$(BIN)/python benchmarks/run.py --out "$(OUT)"

# How often; and what the rounds follow from, as an earlier run on machines has printed it.
ROUNDS ?= $(if $(HOSTS),200,100)
SEED ?=

soak: setup  ## start, map, kill something, map, stop: ROUNDS=100 times; with HOSTS=1, as root, on three machines with real SSH and Slurm
	@$(BIN)/python benchmarks/$(if $(HOSTS),soak_hosts,soak).py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

pictures: setup  ## make the guide's screenshots anew, from the real program
	@$(BIN)/python docs/make_screenshots.py

mouse: setup  ## click through the window with a mouse (needs xvfb, openbox and xdotool), pictures into build/mouse
	@$(BIN)/python tests/gui/mouse_session.py build/mouse

docs: setup  ## build the user's guide into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:  ## delete everything that the other targets made, the environment too
	rm -rf "$(VENV)" .venv-python3.* .venv-lowest build dist docs/_build *.egg-info .coverage .coverage.* \
	  .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
