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
.PHONY: help demo test test-rust test-integration test-versions test-drivers conversations conversations-random conversations-adversarial lint fmt bench bench-full bench-instructions bench-cleaning bench-micro release clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-30s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show the product on a PostgreSQL of its own, then stay up for psql; ONCE=1: exit after the show
	@scripts/setup build postgres
	@$(GATEWAY)
	@exec $(PYTHON) integration/demo.py $(if $(ONCE),--once)

test: test-rust test-integration ## Run all tests

test-rust: ## Run the Rust tests
	@scripts/setup build
	@$(CARGO) test --workspace --locked

test-integration: ## Run the tests against real PostgreSQL servers; ARGS="-k cancel" for some of them; PGDOG=path: against a patched PgDog
	@scripts/setup build versions
	@$(if $(PGDOG),true,$(GATEWAY))
	@exec $(if $(PGDOG),env PGDOG=$(abspath $(PGDOG))) $(PYTHON) -m pytest --numprocesses $(WORKERS) $(ARGS)

test-versions: ## Run them on every PostgreSQL version, in an hour; PG_MAJOR=13 make test-integration for one
	@scripts/setup build versions
	@$(GATEWAY)
	@failed=; \
	for major in $$(PYTHONPATH=integration $(PYTHON) -c 'import harness; print(*sorted(one.major for one in harness.find_installations()))'); do \
		echo "== PostgreSQL $$major"; \
		PG_MAJOR=$$major $(PYTHON) -m pytest --numprocesses $(WORKERS) $(ARGS) || failed="$$failed $$major"; \
	done; \
	[ -z "$$failed" ] || { echo "failed on PostgreSQL$$failed"; exit 1; }

test-drivers: ## Run drivers' own test suites through the gateway, compared with PostgreSQL alone, in 20 minutes at most
	@scripts/setup build postgres
	@$(GATEWAY)
	@exec env PYTHONPATH=integration $(PYTHON) integration/driver_suites.py $(ARGS)

conversations: conversations-random conversations-adversarial ## Compare many conversations with PostgreSQL's own replies

conversations-random: ## Random ones that clients could have; RANDOM_SEED=1000000 for others
	@scripts/setup build versions
	@$(GATEWAY)
	@exec env RANDOM_CONVERSATIONS=$${RANDOM_CONVERSATIONS:-2500} $(PYTHON) -m pytest integration/test_random_conversations.py

conversations-adversarial: ## Every short one of a hostile client, and random ones, in hours; ADVERSARIAL_LONGEST=2 for fewer
	@scripts/setup build versions
	@$(GATEWAY)
	@exec env ADVERSARIAL=all $(PYTHON) -m pytest integration/test_adversarial_conversations.py $(ARGS)

lint: ## Check format and lints, Rust and Python
	@scripts/setup build python
	@patches/check
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@$(CARGO) clippy --locked -p pgdog-jwt-guard --no-default-features -- -D warnings
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

bench-cleaning: ## Measure what each value of server_cleaning costs
	@scripts/setup build postgres
	@$(GATEWAY)
	@exec env PYTHONPATH=integration $(PYTHON) bench/cleaning.py $(ARGS)

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
