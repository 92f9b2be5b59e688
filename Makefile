# `make help` lists the commands. Everything is installed into .venv from the lock files.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
IMAGES ?=

.PHONY: help
help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: .venv/run  ## Remove the background of the samples on this machine (or of IMAGES="a.jpg b.png")
	$(BIN)/cutout demo $(IMAGES)

.PHONY: test
test: .venv/dev  ## Run the tests
	$(BIN)/pytest --cov --cov-report=term --numprocesses 2 --dist loadfile

.PHONY: check
check: .venv/dev  ## Lint, check types, the arrows between modules, and the template; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=functions $(BIN)/lint-imports
	$(BIN)/cfn-lint template.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

.PHONY: chaos
chaos: .venv/dev  ## Fail in every way at once, drain a backlog, outlast an outage, replay 10,000 letters; takes 20 minutes
	$(BIN)/python -m tests.chaos.chaos --uploads 1000 --seed 1
	$(BIN)/python -m tests.chaos.drain
	$(BIN)/python -m tests.chaos.outage
	$(BIN)/python -m tests.chaos.letters
	$(BIN)/python -m tests.chaos.backfill

.PHONY: bench
bench: .venv/dev  ## Measure what an image costs; write bench/RESULTS.md
	PYTHONPATH=functions $(BIN)/python -m bench

.PHONY: deploy-check
deploy-check: .venv/run .venv-sam/ready  ## Deploy to the local cloud with AWS's own clients, use it, change it, delete it
	$(BIN)/python tests/deploy/check.py

.PHONY: checkov
checkov: .venv-checkov/ready  ## Hold the template against checkov's rules; each that is skipped has its reason there
	.venv-checkov/bin/checkov --file template.yaml --framework cloudformation --compact --quiet --skip-download

.PHONY: format
format: .venv/dev  ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: .venv/dev  ## Pin the newest versions, with hashes, in the lock files
	$(BIN)/uv pip compile $(LOCK) functions/requirements.in -o functions/requirements.txt
	$(BIN)/uv pip compile $(LOCK) requirements.in -o requirements.txt
	$(BIN)/uv pip compile $(LOCK) requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile $(LOCK) requirements-sam.in -o requirements-sam.txt
	$(BIN)/uv pip compile $(LOCK) requirements-checkov.in -o requirements-checkov.txt
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header

# A stamp file a set of packages: installed again only when its lock file changed.
.venv/run: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cutout needs Python 3.11 or newer; call: make PYTHON=python3.13 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the packages of requirements.txt into .venv ..."
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	@echo "Installing the packages of requirements-dev.txt into .venv ..."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# Installed without dependencies: the lock files have them all, and pip cannot match those with extras to their hashes.
.venv-%/ready: requirements-%.txt
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@echo "Installing the packages of requirements-$*.txt into .venv-$* ..."
	@.venv-$*/bin/python -m pip --disable-pip-version-check -qq install --no-deps --require-hashes -r requirements-$*.txt
	@touch $@
