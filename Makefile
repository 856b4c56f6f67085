# `make demo` and `make test` set up what they need. Choose another interpreter with `make PYTHON=python3.12 test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Public implementations bring many packages; they stay out of the environment that is tested.
PEERS := .venv-peers
# Optional dependencies bring many packages too; what needs them is tested apart.
EXTRAS := .venv-extras
DOCS := .venv-docs
# Without a GPU the pinned CPU build of torch keeps CUDA packages out; with one, pip takes torch's default build.
TORCH_PIN := $(if $(shell command -v nvidia-smi 2>/dev/null),,-c constraints.txt)

.PHONY: demo test test-slow faults test-extras test-slurm test-ray check bench soak bench-compiled bench-peers gpu docs docs-serve notebook picture clean help

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(BIN)/.ngptlab ## GPT against nGPT on real text, and a page
	$(BIN)/ngptlab compare demo --out out/demo

test: $(BIN)/.dev ## The tests
	$(BIN)/python -m pytest -m "not slow and not gpu and not faults and not slurm and not ray" -n auto

test-slow: $(BIN)/.dev ## The tests that take longer
	$(BIN)/python -m pytest -m "slow and not gpu and not faults and not slurm and not ray"

faults: $(BIN)/.dev ## Trials of kills, crashes, signals, full disks, wrong bits: half an hour at most
	$(BIN)/python -m pytest -m "faults and not gpu and not slurm and not ray" -n 2

test-extras: $(EXTRAS)/.extras ## The tests that need optional dependencies
	TRITON_INTERPRET=1 $(EXTRAS)/bin/python -m pytest -m "extra and not slow and not gpu and not faults and not slurm and not ray" -n auto

test-slurm: $(EXTRAS)/.extras ## The tests on a real Slurm of one node, started for them (Debian: slurm-wlm, munge; as root)
	$(EXTRAS)/bin/python -m pytest -m "slurm and not gpu" tests/slurm

test-ray: $(EXTRAS)/.extras ## The tests on a real Ray of three nodes on this machine, of which one is killed
	$(EXTRAS)/bin/python -m pytest -m "ray and not gpu" tests/jobs

check: $(BIN)/.dev ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(BIN)/.ngptlab ## Step time, memory, input and output, sampling; JSON in out/bench/
	$(BIN)/python -m benchmarks.step_time --sizes demo bytes gpt2-7m
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.io
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.prepare
	$(BIN)/python -m benchmarks.sampling

soak: $(BIN)/.ngptlab ## Two hours of one training, watched and reported all along
	$(BIN)/python -m benchmarks.soak --hours 2

bench-compiled: $(BIN)/.ngptlab ## Step time through torch.compile
	$(BIN)/python -m benchmarks.step_time --sizes demo bytes --compiled --out out/bench/step_time_compiled.json

bench-peers: $(PEERS)/.peers ## Step time against public implementations
	$(PEERS)/bin/python -m benchmarks.peers $(PEER_ARGS)

gpu: $(BIN)/.dev ## The tests that need CUDA, and the GPU table
	$(BIN)/python -m benchmarks.gpu

docs: $(DOCS)/.docs ## The docs as a site in out/site/, which needs no network
	$(DOCS)/bin/sphinx-build --fresh-env --fail-on-warning --keep-going --quiet --conf-dir docs/site . out/site

docs-serve: docs ## The same at http://localhost:8000
	$(DOCS)/bin/python -m http.server --bind localhost --directory out/site

picture: $(BIN)/.ngptlab ## The README's picture, from the recorded runs
	$(BIN)/python docs/site/picture.py

notebook: $(DOCS)/.docs ## The notebooks of examples/, from their scripts, with their outputs
	$(DOCS)/bin/python docs/site/notebooks.py examples

clean: ## Remove the environment and caches
	rm -rf $(VENV) $(PEERS) $(EXTRAS) $(DOCS) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/.ngptlab: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ngptlab needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(TORCH_PIN) -e .
	touch $@

$(BIN)/.dev: $(BIN)/.ngptlab
	$(BIN)/python -m pip install --quiet $(TORCH_PIN) --group dev
	touch $@

$(EXTRAS)/.extras: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(EXTRAS)/bin/python -m pip install --quiet $(TORCH_PIN) -e ".[data,datatrove,eval,hf,wandb,trackio,tensorboard,ray,slurm]" --group extras
	touch $@

$(PEERS)/.peers: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PEERS)/bin/python -m pip install --quiet -c constraints.txt -e . --group peers
	touch $@

$(DOCS)/.docs: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(DOCS)/bin/python -m pip install --quiet $(TORCH_PIN) -e ".[pandas]" --group docs
	touch $@
