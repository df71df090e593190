# Two commands do everything on a fresh machine: `make repro` and `make test`. On one with a GPU: `make gpu-check`.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.ready

# Address of PyTorch's own CPU wheel index, for machines without a GPU: saves several GB of CUDA libraries.
TORCH_INDEX ?=
# A profile to run instead of what params.yaml holds, and changes to it: make repro PROFILE=quick OVERRIDES="train.epochs=3"
PROFILE ?=
OVERRIDES ?=
# Options of `python -m benchmarks.gpu_check`.
GPU_CHECK ?=

export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(abspath $(VENV))

.DEFAULT_GOAL := help
.PHONY: help env repro test gpu-check lint format lock ui clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11
	@echo "variables: PROFILE=name OVERRIDES='key=value …' (repro), GPU_CHECK='options' (gpu-check), TORCH_INDEX=address (env), PYTHON, VENV"

env: $(READY) ## make the environment from the pinned lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "error: Python 3.11 or 3.12 is needed; name one with PYTHON=…"; exit 1; }
	@echo "Making $(VENV): several GB with torch, a few minutes the first time."
	$(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	grep -E '^(torch|torchvision)==' requirements.lock > $(VENV)/torch.txt
	grep -vE '^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==' requirements.lock > $(VENV)/rest.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --index-url $(TORCH_INDEX) -r $(VENV)/torch.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r $(VENV)/rest.txt
else
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements.lock
endif
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# DVC looks for a remote with a relative path in the wrong place when it works on other commits.
	@[ -f .dvc/config.local ] || [ ! -d .git ] || $(BIN)/dvc remote modify --local storage url "$(abspath ..)/clipn-storage"
	@touch $@

repro: $(READY) ## run the main job and print its result (PROFILE=name runs another profile)
ifneq ($(PROFILE),)
	@clipn profile $(PROFILE) $(OVERRIDES)
endif
	@python -m flows.repro

test: lint ## lint, types and all tests
	@# Files of tests side by side: much of their time is waiting for servers, workers and clusters.
	@python -m pytest -n logical --maxprocesses=4 --dist=loadfile --cov --cov-report=term

gpu-check: ## tests and benchmarks on one GPU, at most eight minutes (docs/training.md); GPU_CHECK='--only tests'
	@# A machine that is lent for minutes has torch and no time for `make env`: a Python that has torch is taken as it is.
	@if $(PYTHON) -c 'import sys; from importlib.util import find_spec; sys.exit(find_spec("torch") is None)'; \
		then $(PYTHON) -m benchmarks.gpu_check $(GPU_CHECK); \
		else $(MAKE) --no-print-directory env && $(BIN)/python -m benchmarks.gpu_check $(GPU_CHECK); fi

lint: $(READY) ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

format: $(READY) ## put the code into its layout
	@ruff check --fix .
	@ruff format .

ui: $(READY) ## start Prefect's server, a worker and the deployments on this machine
	@python -m flows.ui

lock: ## resolve pyproject.toml into requirements.lock again (needs uv)
	uv pip compile pyproject.toml --extra dev --override requirements-overrides.txt --python-version 3.11 \
		--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock

clean: ## remove what the pipeline made in this folder (DVC's cache and the environment stay)
	rm -rf data/captions data/download data/backbone data/features data/sets data/scores data/work models/clipn reports/report.html
