# The commands that a person and CI run. They need Python >= 3.12, make and pip, and nothing else.
#
#   make demo      set up the run environment, then the whole path on a small finite-element problem: generate, ingest, plan, run, report
#   make test      set up the development environment, then the fast test suite     (make test TESTS=tests/test_architecture.py for a part)
#   make slow      the tests of more than ten seconds each
#   make bench     the benchmarks, timed, as a table
#   make lint types docs package     style, static types, the documentation site, sdist and wheel: what CI runs beside the tests
#   make format    apply the style
#   make lock      resolve the lock files anew (needs uv; see CONTRIBUTING.md)
#   make clean     remove the environment and everything that was built
#
# Set PYTHON to choose the interpreter (make test PYTHON=/path/to/python3.12), VENV to place the environment, JOBS for parallel tests.

PYTHON ?=
VENV ?= .venv
JOBS ?= 2
TESTS ?= tests
UV ?= uv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# 3.13 and 3.12 come first because they are the versions that CI tests.
CANDIDATES := python3.13 python3.12 python3.14 python3 python
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 12))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test slow bench lint types docs package format lock clean

help:
	@sed -n '3,12s/^# \{0,3\}//p' Makefile

# --- environments ---------------------------------------------------------------------------------------------------------------------
# One virtual environment; two stamps in it. The development lock holds the run lock's packages at the same versions, and more.

# bin/pip is the last file that the making of an environment writes, so an interrupted making is begun again. Debian's python3 comes
# without ensurepip; then the pip outside fills the environment.
$(BIN)/pip:
	@python=''; \
	for candidate in $(if $(PYTHON),'$(PYTHON)',$(CANDIDATES)); do \
	  if "$$candidate" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "nwidth needs Python 3.12 or newer, and found none among $(or $(PYTHON),$(CANDIDATES)): install one, or name it with make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	if "$$python" -c 'import ensurepip' >/dev/null 2>&1; then \
	  "$$python" -m venv --clear '$(VENV)'; \
	else \
	  "$$python" -m venv --clear --without-pip '$(VENV)' && "$$python" -m pip --python '$(BIN)/python' install --quiet pip; \
	fi

# The project itself is installed without its dependencies and without build isolation: everything that is fetched has a hash in the lock.
define install
	@echo "installing $(1): the first time takes minutes, afterwards nothing"
	@$(PIP) install --quiet --require-hashes --requirement $(1)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV)/.run-set: requirements.lock pyproject.toml | $(BIN)/pip
	$(call install,requirements.lock)

$(VENV)/.dev-set: requirements-dev.lock pyproject.toml | $(BIN)/pip
	$(call install,requirements-dev.lock)

setup: $(VENV)/.dev-set

# --- what people run ------------------------------------------------------------------------------------------------------------------

demo: $(VENV)/.run-set
	@$(BIN)/python -m nwidth.demo

test: $(VENV)/.dev-set
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow' $(TESTS)

# One at a time: these tests measure time and memory.
slow: $(VENV)/.dev-set
	@$(BIN)/python -m pytest -m slow --timeout 1800 $(TESTS)

bench: $(VENV)/.dev-set
	@$(BIN)/python -m tests.benchmarks

lint: $(VENV)/.dev-set
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.dev-set
	@$(BIN)/mypy
	@$(BIN)/mypy --explicit-package-bases tests docs/_hooks

format: $(VENV)/.dev-set
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.dev-set
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "the documentation is in site/index.html"

# The wheel is made from the sdist, as an installer would make it; tests/test_packaging.py compares both with the folders.
package: $(VENV)/.dev-set
	@rm -rf dist
	@$(BIN)/python -m hatchling build --target sdist --directory dist
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist dist/*.tar.gz
	@ls dist

# --- maintenance ----------------------------------------------------------------------------------------------------------------------
# Hashes are those of the public index, and no index is named in the files. The run lock is held to the versions
# of the development lock, which has more packages to agree with each other.

COMPILE := $(UV) --no-config pip compile pyproject.toml --quiet --universal --python-version 3.12 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade --extra mesh --extra demo --extra netcdf

lock:
	$(COMPILE) --extra virtual --extra learn --extra dashboard --extra slurm --extra metrics --extra telemetry --extra dagster --group dev --output-file requirements-dev.lock
	$(COMPILE) --group build --constraints requirements-dev.lock --output-file requirements.lock

clean:
	rm -rf '$(VENV)' build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find graphs pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
