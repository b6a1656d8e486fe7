# make demo   the shipped analysis, to results/report.html
# make test   the quick tests (below ten minutes on two cores)
# make test-slurm   the analysis and a sweep by each route of a Slurm that is started and stopped here
# make test-slurm-slow   faults on that Slurm: jobs, nodes, controllers and workers that are lost (half an hour)
# make lint   style, types, import contracts, workflow
# make check  all of it, as the integration server does (.ci/run)
#
# Each target makes .venv by itself; nothing but python3 and make is needed.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
CORES ?= all
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slurm test-slurm-slow lint check install clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

install: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES)
	@echo "The report is results/report.html"

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not slow and not slurm" -n $(JOBS) --dist loadfile

test-slurm: $(INSTALLED)
	tests/slurm/run $(BIN)/python -m "not slow"

test-slurm-slow: $(INSTALLED)
	tests/slurm/run $(BIN)/python -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/snakemake --lint --snakefile workflow/Snakefile

check:
	.ci/run

clean:
	rm -rf $(VENV) results .snakemake build dist .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache mixedflow.egg-info
	find mixedflow tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
