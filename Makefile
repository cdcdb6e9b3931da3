# Every target installs what it needs (scripts/setup); `make help` lists them.

SHELL := /bin/bash
PYTHON := .venv/bin/python
# What setup found out about the build; cargo must see it.
CARGO := set -e; . .build/env; cargo
# The release build is what the demo, the integration tests and the benchmark run: one heavy build for all three.
# PGDOG_JWT_BIN names one that was built elsewhere.
GATEWAY := $(if $(PGDOG_JWT_BIN),true,$(CARGO) build --release --locked -p pgdog-jwt-gateway)

# How many processes share the files of integration tests. They mostly wait; each has PostgreSQL servers of its own.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-integration conversations lint fmt bench bench-full bench-instructions bench-micro release clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show the product on a PostgreSQL of its own, then stay up for psql; ONCE=1: exit after the show
	@scripts/setup build postgres
	@$(GATEWAY)
	@exec $(PYTHON) integration/demo.py $(if $(ONCE),--once)

test: test-rust test-integration ## Run all tests

test-rust: ## Run the Rust tests
	@scripts/setup build
	@$(CARGO) test --workspace --locked

test-integration: ## Run the tests against real PostgreSQL servers; ARGS="-k cancel" for some of them
	@scripts/setup build versions
	@$(GATEWAY)
	@exec $(PYTHON) -m pytest --numprocesses $(WORKERS) $(ARGS)

conversations: ## Compare many random conversations with PostgreSQL's own replies; RANDOM_SEED=1000000 for others
	@scripts/setup build versions
	@$(GATEWAY)
	@exec env RANDOM_CONVERSATIONS=$${RANDOM_CONVERSATIONS:-2500} $(PYTHON) -m pytest integration/test_random_conversations.py

lint: ## Check format and lints, Rust and Python
	@scripts/setup build python
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

fmt: ## Format all code
	@scripts/setup build python
	@$(CARGO) fmt --all
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

# Plots are drawn for results that are kept.
PLOTS = $(if $(findstring --save,$(ARGS)),plots)

bench: ## Measure against PostgreSQL alone and PgBouncer, a few minutes; see bench/
	@scripts/setup build postgres $(PLOTS)
	@$(GATEWAY)
	@exec env PYTHONPATH=integration $(PYTHON) bench/run.py $(ARGS)

bench-full: ## The same with every scenario, about an hour and a half
	@scripts/setup build postgres $(PLOTS)
	@$(GATEWAY)
	@exec env PYTHONPATH=integration $(PYTHON) bench/run.py --full $(ARGS)

bench-instructions: ## Count the instructions of one query through the gateway; needs valgrind
	@scripts/setup build postgres
	@$(GATEWAY)
	@exec env PYTHONPATH=integration $(PYTHON) bench/instructions.py $(ARGS)

bench-micro: ## Measure what a token costs in the core, and a query in the gateway's code; ARGS="cached" for some of it
	@scripts/setup build
	@$(CARGO) bench --locked -p pgdog-jwt --bench token_cost -- $(ARGS)
	@$(CARGO) bench --locked -p pgdog-jwt --bench burst
	@$(CARGO) bench --locked -p pgdog-jwt-gateway --bench hot_path -- $(ARGS)

release: ## Build the gateway for a release, with a profile of its own work; about 15 minutes
	@scripts/setup profile postgres
	@exec scripts/release

clean: ## Remove everything that was built or installed here
	rm -rf target .venv .build .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
