# `make demo` and `make test` set everything up by themselves; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
PY := $(VENV)/bin/python
DEMO ?= outputs/demo
# Each worker imports MindSpore and takes some GB: two of them, whatever the machine.
WORKERS ?= 2
# pip compiles the modules of the packages one after the other; here every core does.
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile
COMPILE_MODULES := $(PY) -W ignore -m compileall -qq -j 0 $(VENV)/lib || true
RUN_TESTS := PATH="$(abspath $(VENV))/bin:$$PATH" $(PY) -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: help demo test test-slow test-ascend test-long test-all coverage coverage-floor audit lint format install install-dev lock clean bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install ## make a small data set, train a detector on it, evaluate, draw: 5 to 10 minutes, depending on the machine
	$(PY) convert.py dataset=shapes out=$(DEMO)/data
	$(PY) train.py +experiment=demo data=$(DEMO)/data output=$(DEMO)/run overwrite=true
	$(PY) eval.py checkpoint=$(DEMO)/run/checkpoints/best.ckpt data=$(DEMO)/data output=$(DEMO)/eval
	@echo "Look at $(DEMO)/eval/predictions.png and $(DEMO)/run/curves.png"

test: install-dev ## the fast tests, under 6 minutes on two cores
	$(RUN_TESTS) $(PYTEST_ARGS)

test-slow: install-dev ## the long tests: several processes, real kills
	$(RUN_TESTS) -m slow $(PYTEST_ARGS)

# Every test is processes of its own. The stand-ins are built first, once.
test-ascend: install-dev ## compile for Ascend in MindSpore's dry run: no card, no download, about 4 minutes
	$(PY) tests/ascend/stand_ins/build.py build/ascend
	$(RUN_TESTS) tests/ascend -m ascend $(PYTEST_ARGS)

# In one go, so that no core waits at the end of the first for the second to begin. The stand-ins are built next to the
# first tests; a test that needs them sooner waits.
test-long: install-dev ## test-slow and test-ascend, as CI runs them
	$(PY) tests/ascend/stand_ins/build.py build/ascend & \
	$(RUN_TESTS) -m "slow or ascend" $(PYTEST_ARGS)

test-all: install-dev ## test and test-slow
	$(RUN_TESTS) -m "not ascend" $(PYTEST_ARGS)

# Tests that kill processes lose what those had counted; the figure is a floor.
coverage: ## both, counting the lines of data_tools and training that they run
	$(MAKE) test-all PYTEST_ARGS="--cov --cov-report="
	$(MAKE) coverage-floor

coverage-floor: install-dev ## after tests with --cov: fail under 90 % of the lines of either package
	$(PY) -m coverage report --include='data_tools/*' --fail-under=90
	$(PY) -m coverage report --include='training/*' --fail-under=90

# In an environment of its own: pip-audit asks for the known weaknesses of every pinned package. --strict: a
# package that it cannot ask about is a failure, not a pass.
audit: $(PY) ## look for known weaknesses of the pinned packages (needs the network)
	$(PY) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock

bench: install-dev ## short benchmarks: is any ratio smaller than it was? (about 5 minutes, nothing else running)
	$(PY) -m benchmarks.guard

lint: install-dev ## ruff, mypy, shellcheck, hadolint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/shellcheck run_distribute_train.sh .ci/run
	$(VENV)/bin/hadolint Dockerfile

format: install-dev ## let ruff format and mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

install: $(VENV)/.installed ## make .venv with the pinned packages

install-dev: $(VENV)/.installed-dev ## the same with the development tools

$(PY):
	@for python in python3 python3.11 python3.12 python3.10; do \
	  if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; $$python -m venv $(VENV) && exit 0; \
	  fi; \
	done; \
	echo "error: no usable Python 3.10, 3.11 or 3.12 with its venv module was found (MindSpore has no wheels for" \
	  "others). On Debian or Ubuntu: apt-get install python3-venv." >&2; exit 1

$(VENV)/.installed: requirements.lock setup.cfg | $(PY)
	$(PIP_INSTALL) -r requirements.lock
	$(PIP_INSTALL) --no-deps -e .
	$(COMPILE_MODULES)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock setup.cfg | $(PY)
	$(PIP_INSTALL) -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps -e .
	$(COMPILE_MODULES)
	@touch $@ $(VENV)/.installed

lock: install-dev ## pin the newest packages that setup.cfg allows
	$(PY) -m pip install --quiet uv
	for extra in "" -dev; do \
	  { echo '# Every package and version of a known-good environment, Python 3.10 to 3.12; `make lock` writes it anew.'; \
	    $(PY) -m uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header \
	      $${extra:+--extra dev} setup.cfg \
	      | sed "s/ ; python_full_version < '3.13' and sys_platform == 'linux'$$//; s/ and python_full_version < '3.13'//; s/ and sys_platform == 'linux'//"; \
	  } > requirements$$extra.lock.new; \
	  mv requirements$$extra.lock.new requirements$$extra.lock; \
	done

clean: ## remove outputs and caches; keeps .venv
	rm -rf outputs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
