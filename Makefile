# Two commands are all a new user needs: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: help setup demo test lint types unit integration docs dashboards site build clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## make .venv with everything the demo and the tests need

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools wheel
	@echo "installing what constraints.txt pins into $(VENV); minutes, and most of a gigabyte to fetch"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[postgres,s3,sources,export,demo,dev]'
	@touch $(STAMP)

demo: $(STAMP) ## the whole line on this machine, offline, ending in a report
	$(BIN)/factory demo

test: lint types unit integration ## everything that has to pass

lint: $(STAMP) ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## strict mypy on all we own
	$(BIN)/mypy

unit: $(STAMP) ## tests without Ray or network
	$(BIN)/python -m pytest -n 2 tests/unit

integration: $(STAMP) ## tests with real Ray, PostgreSQL, S3 server and browser
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration

docs: $(STAMP) ## remake the pages that come from the code
	$(BIN)/python -m model.recipe_table > docs/recipe.md
	$(BIN)/python -m model.protocol_table > docs/protocols.md
	$(BIN)/python -m jobs.cli_reference > docs/cli.md
	$(BIN)/python -m jobs.metrics_reference > docs/metrics.md
	$(BIN)/python -m pipeline.catalog_reference > docs/catalog.md

dashboards: $(STAMP) ## remake Grafana's dashboard and the alert rules
	$(BIN)/python -m infra.monitoring.build

site: $(STAMP) ## docs/ as a site that needs no network: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

build: $(STAMP) ## build the wheel
	$(BIN)/python -m build --wheel

clean: ## remove what make made, and what demo left
	rm -rf $(VENV) build dist demo-output *.egg-info
