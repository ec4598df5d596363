# Targets install the tools that they need into .tools/. Nothing is installed globally.
PYTHON ?= python3
RUN := $(PYTHON) -m

.DEFAULT_GOAL := help
.PHONY: help tools build demo chaos load backlog upgrade simulate up down logs dashboard watch test test-fast docs soak bench bench-baseline bench-check lint audit deploy check-key redrive redact clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## install the pinned tools into .tools/ (other targets do this too)
	@$(RUN) infra.local.tools

build: ## build the functions and the sandbox
	@$(RUN) infra.local.stack build

demo: ## track orders of every kind on a local stack, then twenty at once with list checks, ~90 s after the build
	@$(RUN) tests.scenarios.demo

chaos: ## run 2,000 orders in 5 minutes while the vendor and the shop fail and processes are killed (ORDERS=100 MINUTES=1 SEED=7)
	@$(RUN) tests.scenarios.chaos $(if $(ORDERS),--orders $(ORDERS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

load: ## run 100 orders a minute on one key for 10 minutes (ORDERS_PER_MINUTE=50 MINUTES=5 SEED=7 SINGLE=1 COMPARE=1 WEBHOOKS=1 NO_BUILD=1)
	@$(RUN) tests.scenarios.load $(if $(ORDERS_PER_MINUTE),--orders-per-minute $(ORDERS_PER_MINUTE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(SINGLE),--single) $(if $(COMPARE),--compare) $(if $(WEBHOOKS),--webhooks) $(if $(NO_BUILD),--no-build)

backlog: ## recheck 10,000 parked orders that are due at once, while a shop sends on, some ten minutes (ORDERS=3000 SEED=7 BUDGET=240 NO_BUILD=1; MINUTES=30: give up after so long)
	@$(RUN) tests.scenarios.backlog $(if $(ORDERS),--orders $(ORDERS)) $(if $(SEED),--seed $(SEED)) $(if $(BUDGET),--budget $(BUDGET)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NO_BUILD),--no-build)

upgrade: ## deploy this version over an older one while orders are sent, then the older one again, ~5 minutes after the builds (FROM=b0a0654 ORDERS_PER_MINUTE=20 MINUTES=3 SEED=7 NO_BUILD=1)
	@$(RUN) tests.scenarios.upgrade $(if $(FROM),--from $(FROM)) $(if $(ORDERS_PER_MINUTE),--orders-per-minute $(ORDERS_PER_MINUTE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(NO_BUILD),--no-build)

up: ## start the local stack and write .local/stack.env
	@$(RUN) infra.local.stack up

down: ## stop the local stack
	@$(RUN) infra.local.stack down

logs: ## show the logs of the local stack as they grow
	@$(RUN) infra.local.stack logs

dashboard: ## draw the dashboard of the local stack in the terminal (ONCE=1 draws once)
	@$(RUN) infra.local.dashboard $(if $(ONCE),--once)

watch: ## serve the functions from source against the local stack; rebuild on change
	@$(RUN) infra.local.stack watch

test: ## run the linters and all tests, on local stacks
	@$(RUN) tests.run lint all

test-fast: ## run the tests that need no stack
	@$(RUN) tests.run unit

docs: ## write the generated parts of docs/ anew (settings, fields of events), and .local/docs/api.html from infra/openapi.yaml
	@UPDATE_DOCS=1 cargo test --quiet --package shared --test settings --test events_page the_page
	@$(RUN) infra.local.api_page

simulate: ## compare ways to check orders in a model: calls, delay, cost
	@$(RUN) tests.simulate.run

bench: ## compare the functions with hello world, default Rust, Python and Node (ROUNDS=3)
	@$(RUN) tests.bench.run run $(if $(ROUNDS),--rounds $(ROUNDS))

bench-check: build ## compare the functions' instruction counts with tests/bench/baseline.json
	@$(RUN) tests.bench.run check

bench-baseline: build ## write tests/bench/baseline.json anew, for `make bench-check`
	@$(RUN) tests.bench.run check --update

lint: ## check formatting, Rust, Python, the template and the state machine
	@$(RUN) tests.run lint

soak: ## fuzz the parsers, then run 50,000 race schedules, ~1 hour; needs nightly Rust
	@$(RUN) tests.run soak

audit: ## check bans, licences and sources of the dependencies
	@$(RUN) infra.local.tools cargo-deny
	@.tools/cargo-deny/bin/cargo-deny check bans licenses sources

deploy: ## check, build and deploy a stage of infra/samconfig.toml to AWS (STAGE=production KEY_FILE=file, or - for standard input; CONFIRM=1)
	@$(RUN) infra.deploy.deploy $(if $(STAGE),--stage $(STAGE)) $(if $(KEY_FILE),--key-file $(KEY_FILE)) $(if $(CONFIRM),--confirm)

check-key: ## ask the vendor about a key: sandbox or production, scope, addresses (STAGE=production KEY_FILE=file)
	@$(RUN) infra.deploy.deploy --check-key $(if $(STAGE),--stage $(STAGE)) $(if $(KEY_FILE),--key-file $(KEY_FILE))

redrive: ## put dead letters back to where they came from (STAGE=production; DRY_RUN=1 shows them only)
	@$(RUN) infra.local.redrive $(if $(STAGE),--stage $(STAGE)) $(if $(DRY_RUN),--dry-run)

redact: ## remove the personal data of a final order (STAGE=production ORDER=mobile/6901616fe9e88196b4eb64b0)
	@$(RUN) infra.local.redact $(if $(STAGE),--stage $(STAGE)) $(ORDER)

clean: down ## stop the local stack, remove build output and stack files; keep .tools/
	@cargo clean
	@rm -rf .local
