# `make help` is the map.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(VENV)/.installed: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements/dev.txt
	touch $@

.venv-sam/.installed: requirements/sam.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/bin/pip install --quiet --require-hashes --requirement requirements/sam.txt
	touch $@

.PHONY: setup
setup: $(VENV)/.installed .venv-sam/.installed ## Install what everything else needs

.PHONY: run
run: setup ## Start everything, deploy, and fill the warehouse (SOURCE_DSN= for your own source)
	$(BIN)/python -m local run --source-dsn "$(SOURCE_DSN)"

.PHONY: activity
activity: ## Let a stretch of business happen in the source
	$(BIN)/python -m local activity

.PHONY: execute
execute: ## Execute the state machine once more (INPUT='{"verify": true}')
	$(BIN)/python -m local execute --input '$(or $(INPUT),{})'

.PHONY: status
status: ## Show what is up (JSON=1 for one JSON object)
	$(BIN)/python -m local status $(if $(JSON),--json)

.PHONY: down
down: ## Stop everything; the state stays
	$(BIN)/python -m local down

.PHONY: clean
clean: ## Stop everything and forget its state
	-$(BIN)/python -m local down
	rm -rf .aws-sam .local/cloud .local/postgres .local/stack.json

.PHONY: deploy
deploy: ## Deploy to AWS, as samconfig.toml says
	sam build && sam deploy

.PHONY: test
test: setup ## Run the whole test suite
	$(BIN)/python -m pytest

include make/lambda.mk
