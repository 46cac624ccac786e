# make demo | make test | make slurm-test | make lint: each sets itself up in .venv first.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TRANSFORMERS_VERBOSITY ?= error
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_OFFLINE ?= 1

.PHONY: help env data demo test lint format slurm-test report

help:
	@grep -E '^# make|^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is " + sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[dev]"
	touch $@

env: .venv/.ready ## the environment

data: env ## scenes and mini weights, from the remote in this repository
	dvc pull --quiet

demo: env ## PruMerge's tables in shape on the embedded model, then where to look
	prunegrid warm snakemake --profile workflow/profiles/local

test: env lint data ## lint and all tests but those that need Slurm
	python -m pytest -m "not slurm" --durations=15

slurm-test: env ## the tests that need a real Slurm, on one set up for them here (apt packages slurm-wlm, munge; with accounting slurmdbd, mariadb-server)
	python -m pytest -m slurm -rs --durations=15

lint: env ## ruff, mypy, snakefmt, snakemake --lint
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: env ## write what lint wants
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

report: env ## a self-contained page of the demo study
	snakemake --profile workflow/profiles/local --report report.html
