# Every target sets itself up: only python3 (3.11 or later, with venv) and make are needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DIR ?= demo
TRUTH ?= specific
RAW ?=
export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test graph fault-test audit lint browser bench bench-peers calibration slurm-test image-test clean

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

# simulate a study, run participant and group levels, print the verdict; RAW=1: from raw images
ifeq ($(RAW),)
demo: $(VENV)/.run
	$(BIN)/circuitshift demo $(DEMO_DIR)/$(TRUTH) --truth $(TRUTH)
else
demo: $(VENV)/.raw
	$(BIN)/circuitshift demo $(DEMO_DIR)/raw-$(TRUTH) --raw --truth $(TRUTH)
endif

test: lint  ## lint, types, import contracts, then the whole suite
	$(BIN)/python -m pytest -n 2 --dist loadscope

fault-test: $(VENV)/.test  ## kill -9 at random moments, and 10,000 malformed files; four minutes
	$(BIN)/python tests/faults/fuzz.py --cases 10000
	$(BIN)/python tests/faults/sweep.py --seconds 120

audit: $(VENV)/.run  ## weaknesses of our own code, and known ones of the libraries (needs pypi.org)
	$(BIN)/python -m pip install --quiet pip-audit bandit
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml pipeline workflows atlases
	$(BIN)/pip-audit --skip-editable

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=tests/_typing $(BIN)/lint-imports

graph: $(VENV)/.test  ## draw docs/rooms.svg from the imports
	PYTHONPATH=tests/_typing $(BIN)/python tests/rooms.py

# without it `make test` skips the tests of reports in a browser, and says so
browser: $(VENV)/.test  ## Debian's chromium; needs root for apt-get
	command -v chromium >/dev/null || { apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

slurm-test: $(VENV)/.test  ## jobs of a real Slurm of one node, which is installed (Debian) and started
	tests/slurm/one_node.sh install
	$(BIN)/python -m pytest -m slurm tests/slurm

image-test: $(VENV)/.test  ## builds the container and runs it without network (Debian, as root)
	tests/image/engine.sh install
	$(BIN)/python -m pytest -m image -s tests/image

bench: $(VENV)/.test  ## side by side with peers, as ratios
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-peers: $(VENV)/.test  ## the same inputs through nilearn by hand: equal numbers, time, memory
	$(BIN)/python tests/benchmarks/bench_peers.py

calibration: $(VENV)/.run  ## the calibration table of the README, with this code
	$(BIN)/circuitshift calibrate

clean:
	rm -rf $(VENV) build *.egg-info
