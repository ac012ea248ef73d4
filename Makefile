# Each target installs what it needs into .venv. Required: python3 (3.11 or later, with venv) and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# tests/conftest.py sorts the files, and tests of one file share their fixtures
PARALLEL := -n 2 --dist loadscope --no-loadscope-reorder
# tests of what a process imports, and of how it ends without space, which the measurement changes
NOT_COVERED := --deselect tests/test_house.py::test_the_command_loads_without_heavy_imports \
  --deselect tests/faults/test_processes.py::test_a_limit_of_the_file_size \
  --deselect tests/workflows/test_in_turn.py::test_one_participant_is_measured_and_reported_without_heavy_imports
DEMO_DIR ?= demo
TRUTH ?= specific
RAW ?=
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test slow-test coverage mutation-test graph fault-test audit lint browser bench bench-peers calibration slurm-test methods-test image-test clean

$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.raw: $(VENV)/.run pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[preproc]'
	@touch $@

$(VENV)/.test: $(VENV)/.run pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# Simulate a study, run the participant and group levels, print the verdict. RAW=1 starts from raw images.
ifeq ($(RAW),)
demo: $(VENV)/.run
	$(BIN)/circuitshift demo $(DEMO_DIR)/$(TRUTH) --truth $(TRUTH)
else
demo: $(VENV)/.raw
	$(BIN)/circuitshift demo $(DEMO_DIR)/raw-$(TRUTH) --raw --truth $(TRUTH)
endif

test: lint  ## run linter, type checks, import contracts and the tests not marked slow
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not slurm and not image'

slow-test: $(VENV)/.test  ## run the tests marked slow (more than about ten seconds)
	$(BIN)/python -m pytest $(PARALLEL) -m 'slow and not slurm and not image'

coverage: $(VENV)/.test  ## run all tests and print the coverage of each room
	mkdir -p build/coverage
	$(BIN)/python -m pytest $(PARALLEL) $(NOT_COVERED) --cov --cov-config=pyproject.toml --cov-report=json
	$(BIN)/python tests/coverage_by_room.py

mutation-test: $(VENV)/.test  ## put known errors into a copy of the code; each must make a test fail
	$(BIN)/python tests/mutation/run.py

fault-test: $(VENV)/.test  ## kill runs at random times, read 10,000 malformed files (four minutes)
	$(BIN)/python tests/faults/fuzz.py --cases 10000
	$(BIN)/python tests/faults/sweep.py --seconds 120

audit: $(VENV)/.run  ## search for weaknesses in the code and published vulnerabilities of the dependencies (needs pypi.org)
	$(BIN)/python -m pip install --quiet pip-audit bandit
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml pipeline workflows atlases
	$(BIN)/pip-audit --skip-editable

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=tests/_typing $(BIN)/lint-imports

graph: $(VENV)/.test  ## draw docs/rooms.svg from the imports, and docs/verdicts.svg
	PYTHONPATH=tests/_typing $(BIN)/python tests/rooms.py
	$(BIN)/python tests/verdicts.py

# Without chromium, `make slow-test` skips the browser tests of the reports and prints the reason.
browser: $(VENV)/.test  ## install Debian's chromium (needs root for apt-get)
	command -v chromium >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

slurm-test: $(VENV)/.test  ## install and start a Slurm of one node (Debian) and run its tests
	tests/slurm/one_node.sh install
	$(BIN)/python -m pytest -m slurm tests/slurm

image-test: $(VENV)/.test  ## build the container and run it without a network (Debian, as root)
	tests/image/engine.sh install
	$(BIN)/python -m pytest -m image -s tests/image

methods-test: $(VENV)/.test  ## install the other methods of docs/other-methods.md and test how they are called
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m pytest tests/test_other_methods.py

bench: $(VENV)/.test  ## compare time and memory with other programs, as ratios
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-peers: $(VENV)/.test  ## compare results, time and memory with an nilearn script
	$(BIN)/python tests/benchmarks/bench_peers.py

calibration: $(VENV)/.run  ## print the calibration table for known effects (200 studies per row)
	$(BIN)/circuitshift calibrate

clean:
	rm -rf $(VENV) build *.egg-info
