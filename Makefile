# Everything a person or CI does with this project. Tools are installed into .tools/ on first use; nothing is installed globally.
PYTHON ?= python3
RUN := $(PYTHON) -m

.DEFAULT_GOAL := help
.PHONY: help tools build demo chaos load backlog simulate up down logs watch test test-fast docs soak bench bench-baseline lint audit deploy redrive clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## install the pinned tools into .tools/ (every other target does so when it needs one)
	@$(RUN) infra.local.tools

build: ## build the functions and the sandbox as the local stack runs them
	@$(RUN) infra.local.stack build

demo: ## send one order of every kind through a local stack and watch each to its end
	@$(RUN) tests.scenarios.demo

chaos: ## 2,000 orders in 5 minutes while the vendor fails and processes are killed (ORDERS=100 MINUTES=1 SEED=7)
	@$(RUN) tests.scenarios.chaos $(if $(ORDERS),--orders $(ORDERS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

load: ## 100 orders a minute on one key for 10 minutes: how soon each outcome is heard, and what it costs (ORDERS_PER_MINUTE=50 MINUTES=5 SEED=7 SINGLE=1 COMPARE=1)
	@$(RUN) tests.scenarios.load $(if $(ORDERS_PER_MINUTE),--orders-per-minute $(ORDERS_PER_MINUTE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(SINGLE),--single) $(if $(COMPARE),--compare) $(if $(NO_BUILD),--no-build)

backlog: ## recheck 100,000 due orders under load, ~40 min (ORDERS=3000 SEED=7 BUDGET=240 MINUTES=30 NO_BUILD=1)
	@$(RUN) tests.scenarios.backlog $(if $(ORDERS),--orders $(ORDERS)) $(if $(SEED),--seed $(SEED)) $(if $(BUDGET),--budget $(BUDGET)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NO_BUILD),--no-build)

up: ## start the local stack (sandbox, local AWS, deployed template) and write .local/stack.env
	@$(RUN) infra.local.stack up

down: ## stop the local stack, leaving no process
	@$(RUN) infra.local.stack down

logs: ## show the running stack's logs as they grow
	@$(RUN) infra.local.stack logs

watch: ## serve the functions from source against the running stack, rebuilt on change
	@$(RUN) infra.local.stack watch

test: ## everything: linters, all tests, end to end on three local stacks
	@$(RUN) tests.run lint all

test-fast: ## the tests that need no stack
	@$(RUN) tests.run unit

docs: ## write docs/configuration.md anew from the table of settings and the template
	@UPDATE_DOCS=1 cargo test --quiet --package shared --test settings the_page

simulate: ## calls, delay and money of ways to check orders, in a model with the production rules; tables and pictures
	@$(RUN) tests.simulate.run

bench: ## measure the functions beside hello world, Rust with all defaults, Python and Node (compiles all of them the first time)
	@$(RUN) tests.bench.run run $(if $(ROUNDS),--rounds $(ROUNDS))

bench-baseline: build ## count the functions' instructions anew, as the baseline that `make test` holds them to
	@$(RUN) tests.bench.run check --update

lint: ## formatting, clippy, template, state machine
	@$(RUN) tests.run lint

soak: ## fuzz everything that is parsed, a minute each (needs rustup's nightly), then 50,000 race schedules (an hour or so)
	@$(RUN) tests.scenarios.soak

audit: ## bans, licences and sources of the dependencies (the first time compiles cargo-deny: minutes)
	@$(RUN) infra.local.tools cargo-deny
	@.tools/cargo-deny/bin/cargo-deny check bans licenses sources

deploy: ## build for the cloud and deploy, with the AWS credentials and region of the environment
	@$(RUN) infra.local.stack deploy

redrive: ## put dead letters back to where they came from, on the AWS of the environment; with DRY_RUN=1 only say what would be done
	@$(RUN) infra.local.redrive $(if $(DRY_RUN),--dry-run)

clean: down ## stop the local stack, remove what was built and the stacks' files; .tools/ stays
	@cargo clean
	@rm -rf .local
