# `make help` lists the commands.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
# Java decodes the names of files by the locale.
export LC_ALL := C.UTF-8
# A shell may have these for other programs: other packages, another Spark, tests without assertions.
unexport PYTHONHOME PYTHONINSPECT PYTHONOPTIMIZE PYTHONPATH PYTHONSAFEPATH PYTHONSTARTUP PYTHONWARNINGS
unexport $(filter HADOOP_% PYSPARK_% PYTEST_% SPARK_%,$(.VARIABLES))
unexport PIP_CONSTRAINT PIP_DRY_RUN PIP_NO_BINARY PIP_PREFIX PIP_PYTHON PIP_ROOT PIP_TARGET PIP_USER
# What a person gives, as one word of the shell: quotes, dollars and spaces stay as they are.
given = '$(subst ','\'',$(value $(1)))'
unexport DSN FILE INPUT KEY RUN SECRET SOURCE_DSN

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: prerequisites
prerequisites:
	@"$(PYTHON)" local/prerequisites.py

# One environment for the pipeline and the local cloud, and one for each tool whose requirements
# conflict with it.
define install
	@"$(PYTHON)" local/install.py $(@D) $<
endef
.venv/.installed: requirements/dev.txt prerequisites
	$(install)
.venv-sam/.installed: requirements/sam.txt prerequisites
	$(install)
.venv-checkov/.installed: requirements/checkov.txt prerequisites
	$(install)
.venv-guard/.installed: requirements/guard.txt prerequisites
	$(install)
.venv-bench/.installed: requirements/bench.txt prerequisites
	$(install)
.PHONY: setup
setup: ## Install what the other commands need
	@$(MAKE) --silent --jobs=2 .venv/.installed .venv-sam/.installed

.PHONY: run
run: setup ## Start everything, deploy, fill the warehouse (SOURCE_DSN=, SCALE=, SEED=)
	@$(BIN)/python -m local run --source-dsn $(call given,SOURCE_DSN) $(if $(SCALE),--scale $(call given,SCALE)) $(if $(SEED),--seed $(call given,SEED))

.PHONY: execute
execute: setup ## Execute the state machine once more (INPUT='{"verify": true}')
	@$(BIN)/python -m local execute --input $(if $(value INPUT),$(call given,INPUT),'{}')

.PHONY: activity
activity: setup ## Change the source: new orders, edits, deletions
	@$(BIN)/python -m local activity

.PHONY: maintain
maintain: setup ## Compact the lake's tables, expire snapshots, remove orphan files
	@$(BIN)/python -m local maintain

.PHONY: status
status: setup ## Show the running stack (JSON=1: as one JSON object)
	@$(BIN)/python -m local status $(if $(JSON),--json)

.PHONY: trace
trace: setup ## Tell a row's whole life (TABLE=fact_payment KEY=123 JSON=1 ENV=)
	@$(BIN)/python -m lineage $(call given,TABLE) $(call given,KEY) --env $(call given,ENV) $(if $(JSON),--json)

.PHONY: doctor
doctor: setup ## Say what has to be mended, and how (ENV=dev: on AWS; JSON=1; ONLY=source,runs)
	@$(BIN)/python -m doctor --env '$(or $(ENV),local)' --only $(call given,ONLY) $(if $(JSON),--json)

.PHONY: certify
certify: setup ## Check lake and warehouse against a certificate (FILE=, a path or s3://…; ENV=)
	@$(BIN)/python -m lineage.certify $(call given,FILE) --env $(call given,ENV)

.PHONY: report
report: setup ## Open the page of the newest run (RUN=, the execution's name; ENV=)
	@$(BIN)/python -m lineage.report --run $(call given,RUN) --env $(call given,ENV)

.PHONY: psql
psql: setup ## Open a SQL shell on the warehouse (DB=source: on the source)
	@$(BIN)/python -m local psql $(or $(DB),warehouse)

.PHONY: dashboard
dashboard: setup ## Open the dashboard (ENV=: of a stack on AWS; DSN= or SECRET=: of any warehouse; PORT=)
	@$(BIN)/python -m dashboard --dsn $(call given,DSN) --secret $(call given,SECRET) --env $(call given,ENV) $(if $(PORT),--port $(PORT))

.PHONY: notebook
notebook: setup ## Open the notebook on the history in warehouse and lake
	@$(BIN)/marimo edit notebooks/history.py --host 127.0.0.1 --skip-update-check

.PHONY: logs
logs: setup ## Print the newest log lines of each part
	@$(BIN)/python -m local logs

.PHONY: down
down: setup ## Stop everything, keep the state
	@$(BIN)/python -m local down

.PHONY: clean
clean: setup ## Stop everything and delete the state
	@$(BIN)/python -m local clean

# PARAMS has the parameters that change. Without it, sam asks for those of a stack that does not exist,
# unless samconfig.toml has them, and keeps them there. What a deleted stack of the name left is
# adopted first, unless ADOPT=no.
DEPLOYED = $(or $(ENV),dev)
STACK = $(shell sed -n '/^\[$(DEPLOYED)\.deploy\./,/^\[[^.]*\.build/s/^stack_name *= *"\(.*\)"/\1/p' samconfig.toml)
SAVED = $(shell sed -n '/^\[$(DEPLOYED)\.deploy\./,/^\[[^.]*\.build/p' samconfig.toml | grep '^parameter_overrides')
ON_AWS = $(if $(and $(STACK),$(filter-out local,$(DEPLOYED))),,$(error ENV=$(DEPLOYED): samconfig.toml has no such environment on AWS))
DEPLOYMENT = $(ON_AWS).venv-sam/bin/python -m deployment
GIVEN = $(if $(PARAMS),--parameter-overrides $(PARAMS),$(if $(SAVED),,$$($(DEPLOYMENT).guided --config-env $(DEPLOYED))))
.PHONY: deploy
deploy: .venv-sam/.installed ## Deploy to AWS (ENV=dev or prod of samconfig.toml; PARAMS='Name=value …')
	$(ON_AWS).venv-sam/bin/sam build --config-env $(DEPLOYED)
	$(if $(filter no,$(ADOPT)),,$(DEPLOYMENT).adopt --config-env $(DEPLOYED))
	.venv-sam/bin/sam deploy --config-env $(DEPLOYED) $(GIVEN)

# The stacks beside the pipeline's, which it may use.
BESIDE = $(ON_AWS).venv-sam/bin/sam deploy --config-env $(DEPLOYED) --template-file $@.template.yaml --stack-name $(STACK)-$@
.PHONY: network
network: .venv-sam/.installed ## Deploy a private network to AWS (ENV=, PARAMS=)
	$(BESIDE) $(if $(PARAMS),--parameter-overrides $(PARAMS))

.PHONY: warehouse
warehouse: .venv-sam/.installed ## Deploy a PostgreSQL warehouse into that network (ENV=, PARAMS=)
	$(BESIDE) --parameter-overrides $$($(DEPLOYMENT).parameters --config-env $(DEPLOYED)) $(PARAMS)

.PHONY: parameters
parameters: .venv-sam/.installed ## Print the parameters that those two hand to `make deploy` (ENV=)
	@$(DEPLOYMENT).parameters --config-env $(DEPLOYED)

.PHONY: prune
prune: .venv-sam/.installed ## Delete old versions of the functions that nothing uses (ENV=)
	@$(DEPLOYMENT).prune --config-env $(DEPLOYED)

.PHONY: test
test: setup ## Run the whole test suite
	@$(BIN)/python -m tests

.PHONY: record-calls
record-calls: setup ## Record the calls to AWS that the rights are judged by
	@$(BIN)/python -m tests.rights

TEMPLATES := template.yaml network.template.yaml warehouse.template.yaml
.PHONY: check
check: setup .venv-checkov/.installed .venv-guard/.installed ## Check format, lint, types, security, template, state machine
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml dashboard deployment doctor glue_jobs lambdas lineage local pipeline star_schema state_machine
	$(BIN)/cfn-lint $(TEMPLATES)
	SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam validate --lint --config-env local
	.venv-checkov/bin/checkov --quiet --compact --skip-download --framework cloudformation $(TEMPLATES:%=--file %)
	$(BIN)/python -m deployment.guard $(TEMPLATES)
	$(BIN)/python docs/pictures/draw.py --check
	$(BIN)/python -m state_machine.render --check
	$(BIN)/python -m pytest --quiet --no-cov tests/unit/state_machine tests/unit/template

.PHONY: render
render: setup ## Render the state machines' JSON from their YAML, and the list of currencies
	@$(BIN)/python -m state_machine.render
	@$(BIN)/python make/iso_4217.py

.PHONY: bench-ingest
bench-ingest: setup .venv-bench/.installed ## Measure Ingest beside its limit and its peers (ROWS=)
	@$(BIN)/python -m benchmarks.ingest $(if $(ROWS),--rows $(ROWS))

.PHONY: bench-build
bench-build: setup ## Measure Build beside its limit and plain Spark (ROWS=)
	@$(BIN)/python -m benchmarks.build $(if $(ROWS),--rows $(ROWS))

.PHONY: bench-load
bench-load: setup .venv-bench/.installed ## Measure Load beside its limit and its peers (ROWS=)
	@$(BIN)/python -m benchmarks.load $(if $(ROWS),--rows $(ROWS))

.PHONY: bench-all
bench-all: setup .venv-bench/.installed ## Run every benchmark small, and check that all are exact (ROWS=)
	@$(BIN)/python -m benchmarks $(if $(ROWS),--rows $(ROWS))

.PHONY: bench-history
bench-history: setup ## Measure runs, builds and a rebuild at the end of a long history (RUNS=)
	@$(BIN)/python -m benchmarks.history $(if $(RUNS),--runs $(RUNS))

.PHONY: bench-dashboard
bench-dashboard: setup ## Measure the dashboard's pages in a browser (ROWS=)
	@$(BIN)/python -m benchmarks.dashboard $(if $(ROWS),--rows $(ROWS))

.PHONY: format
format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: pictures
pictures: setup ## Draw the pictures of the documentation
	$(BIN)/python docs/pictures/draw.py

LOCK := $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url
.PHONY: lock
lock: setup ## Pin the requirements with hashes
	$(LOCK) --universal --python-version 3.11 requirements/dev.in -o requirements/dev.txt
	$(LOCK) --universal --python-version 3.11 requirements/sam.in -o requirements/sam.txt
	$(LOCK) --universal --python-version 3.11 requirements/checkov.in -o requirements/checkov.txt
	$(LOCK) --universal --python-version 3.11 --no-deps requirements/guard.in -o requirements/guard.txt
	$(LOCK) --universal --python-version 3.11 requirements/bench.in -o requirements/bench.txt
	cd requirements/npm && ../../$(BIN)/npm install --package-lock-only --ignore-scripts \
		--omit-lockfile-registry-resolved --no-audit --no-fund --silent
	for stage in ingest load publish; do \
		$(LOCK) --python-version 3.13 --python-platform aarch64-manylinux_2_28 \
			-c requirements/dev.txt requirements/lambda-$$stage.in -o requirements/lambda-$$stage.txt; \
	done

include make/lambda.mk
