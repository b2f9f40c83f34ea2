# Every command of this project; `make help` lists them. Each one sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KIND := $(PYTHON) deploy/kind/cluster.py

.DEFAULT_GOAL := help
.PHONY: help demo demo-clean test check format generate unit program faults contract e2e chaos bench cluster cluster-down images setup lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Run a real agent on a real cluster: set everything up, apply the sample, watch it work
	@$(BIN)/python -m deploy.demo

demo-clean: ## Take the demo and its cluster away again
ifeq ($(CLUSTER),current)
	@helm uninstall agentjob --namespace agentjob-demo && kubectl delete namespace agentjob-demo
else
	@$(KIND) down --purge
endif

test: setup ## Run everything: gates, unit, program, contract and end-to-end tests
	@$(BIN)/python -m tests.suites all

check: setup ## Run the gates: format, lint, types, imports, dead code, generated files (no cluster, under a minute)
	@$(BIN)/python -m tests.suites check

format: setup ## Lay out the code and mend what the linter can mend
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

generate: setup ## Write the CRD and docs/reference.md anew from the types
	@$(BIN)/python docs/generate.py

unit: ## Run the tests of decisions
program: ## Run the tests of whole programs on fakes, with the real Claude Code
faults: ## Run a fault of each kind against the operator: chaos in short, no cluster
contract: ## Run what fakes and the real API server must both pass
e2e: ## Run whole jobs on the real cluster
chaos: ## Run every fault, also on the real cluster, and write docs/reliability.md from what came of it
unit program faults contract e2e chaos: setup
	@$(BIN)/python -m tests.suites $@

bench: setup ## Measure, print the table, write JSON under bench/results/
	@$(BIN)/python -m bench

cluster: ## Bring up the kind cluster: .cluster/kubeconfig and .cluster/bin/{kind,kubectl,helm}
	@$(KIND) up

cluster-down: ## Take the cluster down; what was built stays cached in .cluster/
	@$(KIND) down

images: setup ## Build the images and load them into the cluster
	@$(BIN)/python -m deploy.stack images

setup: $(VENV)/.ready ## Make the Python environment in .venv

$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "AgentJob needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m deploy.environment

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

lock: setup ## Pin the newest allowed versions of all packages, with hashes
	@$(LOCK) --all-extras --group dev --output-file requirements.txt
	@for image in operator runner gateway scripted-model; do \
	  $(LOCK) --no-annotate --extra $$image --constraint requirements.txt --output-file deploy/requirements/$$image.txt; \
	done

clean: demo-clean ## Remove all that was made: cluster, environment, caches of tools
	@rm -rf $(VENV) $(VENV).lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
