# `make help` lists the commands. Everything is installed from the lock files, into .venv and its like.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
IMAGES ?=
ARGS ?=
SEEDS ?=
COVERAGE ?=
include functions/install.mk

.PHONY: help
help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: export IMAGES := $(IMAGES)
run: .venv/run  ## Remove the background of the samples on this machine (or of IMAGES="a.jpg 'my b.png' photos/")
	@if test -e "$$IMAGES"; then set -- "$$IMAGES"; else eval "set -- $$IMAGES"; fi; $(BIN)/cutout demo "$$@"

.PHONY: test
test: .venv/dev  ## Run the tests (or some: ARGS="-k ledger"; COVERAGE=1 also reports what they do not cover)
ifdef ARGS
	$(PYTEST) --numprocesses 3 $(ARGS)
else
	$(PYTEST) --numprocesses 3 --ignore tests/e2e $(if $(COVERAGE),--cov --cov-report= --cov-fail-under=0)
	$(PYTEST) --numprocesses $(if $(COVERAGE),2,3) tests/e2e $(if $(COVERAGE),--cov --cov-append --cov-report=term)
endif
# The end-to-end tests start many processes, whose times are real: they run apart from the others, and fewer at once
# while it is measured what they cover, which slows them.
PYTEST = $(BIN)/pytest --dist loadfile --no-loadscope-reorder

.PHONY: unit
unit: .venv/dev  ## Run the unit tests
	$(BIN)/pytest tests/unit --numprocesses 2

.PHONY: check
check: .venv/dev  ## Lint, check types, the arrows between modules, the template and the pages; changes nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=functions $(BIN)/lint-imports
	$(BIN)/cfn-lint template.yaml
	$(BIN)/python docs/generate.py --check
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

.PHONY: docs
docs: .venv/dev  ## Write the parts of docs/ that have a source
	$(BIN)/python docs/generate.py

.PHONY: chaos
chaos: .venv/dev  ## Fail in every way at once, drain a backlog, outlast an outage, replay 10,000 letters; takes 25 minutes
	$(BIN)/python -m tests.chaos.chaos --uploads 1000 --seed 1
	$(BIN)/python -m tests.chaos.drain
	$(BIN)/python -m tests.chaos.outage
	$(BIN)/python -m tests.chaos.cap
	$(BIN)/python -m tests.chaos.letters
	$(BIN)/python -m tests.chaos.backfill

.PHONY: prove
prove: .venv/dev  ## Walk the histories of small worlds and of random ones; write tests/simulation/REPORT.md (SEEDS=100000)
	PYTHONPATH=functions $(BIN)/python -m tests.simulation prove $(SEEDS)

.PHONY: mutants
mutants: .venv-mutants/ready  ## Change the protocol's code in every small way; a unit test must notice
	.venv-mutants/bin/python tests/mutants.py

.PHONY: bench
bench: .venv/dev  ## Measure what an image costs; write bench/RESULTS.md
	PYTHONPATH=functions $(BIN)/python -m bench

.PHONY: deploy-check
deploy-check: .venv/run .venv-sam/ready  ## Deploy to the local cloud with AWS's own clients, use it, change it, delete it
	$(BIN)/python tests/deploy/check.py

.PHONY: second-opinion
second-opinion: .venv/dev .venv-sam/ready .venv-second/dynalite  ## Hold the stack against clouds that are not ours: ministack and dynalite
	PYTHONPATH=functions $(BIN)/python -m tests.second_opinion

.PHONY: wheel
wheel: .venv/run  ## Build the wheel of the command into dist/
	$(BIN)/python $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

.PHONY: wheel-check
wheel-check: .venv/dev .venv/wheels/ready  ## Build the wheel twice, and use it without a checkout, as an operator does
	$(BIN)/python -m tests.wheel.check

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
	$(BIN)/uv pip compile $(LOCK) requirements.in pyproject.toml --extra console --extra local -o requirements.txt
	$(BIN)/uv pip compile $(LOCK) requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile $(LOCK) requirements-sam.in -o requirements-sam.txt
	$(BIN)/uv pip compile $(LOCK) requirements-second.in -o requirements-second.txt
	$(BIN)/uv pip compile $(LOCK) requirements-checkov.in -o requirements-checkov.txt
	$(BIN)/uv pip compile $(LOCK) requirements-mutants.in -o requirements-mutants.txt
	npm update --prefix tests/second_opinion --package-lock-only $(NPM)
LOCK := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header

# One stamp file per set of packages, each installed as functions/install.mk says.
.venv/packages: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cutout needs Python 3.11 or newer; call: make PYTHON=python3.13 ...")'
	@$(environment)
	@$(call install,requirements.txt)
	@touch $@

# Built with what the lock names. The ranges of pyproject.toml are checked with the rest.
.venv/run: .venv/packages pyproject.toml
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@$(check)
	@touch $@

.venv/dev: .venv/run requirements-dev.txt
	@$(call install,requirements-dev.txt)
	@$(check)
	@touch $@

.venv/wheels/ready: requirements.txt .venv/packages
	@$(BIN)/python $(PIP) wheel $(LOCKED) $< --wheel-dir $(@D)
	@touch $@

.venv-%/ready: requirements-%.txt
	@$(environment)
	@$(call install,$<)
	@$(check)
	@touch $@

# dynalite, which is for Node.js, with the other package of `make second-opinion`. No package's script is run.
.venv-second/dynalite: tests/second_opinion/package-lock.json .venv-second/ready
	@echo "Installing the packages of $< into $(@D) ..."
	@cp tests/second_opinion/package.json $< $(@D)
	@npm ci --prefix $(@D) $(NPM)
	@touch $@
NPM := --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error

# The environment is the folder of the target. It is rebuilt when its lock has changed: packages left over from the old
# lock would be checked together with the new ones.
define environment
test ! -e $@ || rm -r $(@D)
test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
endef

# $(call install,LOCK FILE)
define install
echo "Installing the packages of $(1) into $(@D) ..."
$(@D)/bin/python $(PIP) install $(LOCKED) $(1)
endef

# Not with -qq, which hides what is wrong.
check = said=$$($(@D)/bin/python -m pip check) || { echo "$$said"; exit 1; }
