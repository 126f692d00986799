# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
# The generator is old on purpose: code made by it runs on every newer protobuf and grpcio, not the other way round.
# It needs an old protobuf, so it lives in an environment of its own.
GRPCIO_TOOLS := 1.75.1
MYPY_PROTOBUF := 5.1.0
GEN_STAMP := .venv-gen/.stamp-$(GRPCIO_TOOLS)-$(MYPY_PROTOBUF)
PROTOS = $(wildcard protos/jobwire/v1/*.proto)
SERVICES = $(filter %_service.proto,$(PROTOS))
PYTEST := $(BIN)/python -m pytest
SCALE ?= 1
KILLS ?=
DIR ?=
LANGS ?=
FAST ?=
BUILD ?=
export SCALE KILLS DIR LANGS FAST BUILD

.DEFAULT_GOAL := help
.PHONY: help setup gen check check-style check-types check-layers check-protos check-gen check-docs test test-postgres torture bench demo docs figures site pictures interop clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp  ## make .venv with everything, leave .venv/bin/jobwire

.venv/.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jobwire needs Python 3.11 or newer: make PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if command -v uv >/dev/null; then \
	  echo 'uv pip install --editable .[dev]'; uv pip install --quiet --python $(BIN)/python --editable '.[dev]'; \
	else \
	  echo 'pip install --editable .[dev]'; $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'; \
	fi
	@touch $@

$(GEN_STAMP):
	@rm -rf .venv-gen
	$(PYTHON) -m venv .venv-gen
	.venv-gen/bin/python -m pip install --quiet --disable-pip-version-check \
	  grpcio-tools==$(GRPCIO_TOOLS) mypy-protobuf==$(MYPY_PROTOBUF) protobuf==6.33.6
	@touch $@

# $(call generate,DIR): write messages, stubs and their types below DIR.
protoc = PATH="$(CURDIR)/.venv-gen/bin:$$PATH" .venv-gen/bin/python -m grpc_tools.protoc --proto_path=protos
generate = $(protoc) --python_out=$(1) --pyi_out=$(1) $(PROTOS) \
	&& $(protoc) --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(SERVICES)

gen: $(GEN_STAMP)  ## generate client/jobwire/v1 from protos/
	$(call generate,client)

check: check-style check-types check-layers check-protos check-gen check-docs  ## linters, types, layers, contract, freshness of generated code

check-style: .venv/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: .venv/.stamp
	$(BIN)/mypy

check-layers: .venv/.stamp
	$(BIN)/lint-imports

check-protos: .venv/.stamp
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code
	@if [ -f protos/baseline.binpb ]; then cd protos && ../$(BIN)/buf breaking --against baseline.binpb; fi

check-gen: $(GEN_STAMP)
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; ($(call generate,"$$fresh")) || exit 1; \
	diff -r --brief --exclude=__init__.py --exclude=__pycache__ "$$fresh/jobwire/v1" client/jobwire/v1 \
	  || { echo 'client/jobwire/v1 does not match protos/: run make gen and commit the result' >&2; exit 1; }

check-docs: .venv/.stamp
	$(BIN)/python -m tools.docs --check

test: .venv/.stamp  ## all tests but the torture campaigns
	$(PYTEST) -n 2 --dist loadgroup -m "not campaign" tests --ignore=tests/torture

test-postgres: .venv/.stamp  ## the tests of the PostgreSQL driver alone (they are part of `test`)
	$(PYTEST) -n 2 --dist loadgroup tests/store tests/e2e tests/cli/test_db_house.py tests/deploy/test_rolling_update.py \
	  -k 'postgres or Postgres or drivers or pooler or clocks or house or rolling'

torture: .venv/.stamp  ## kills, signals, fuzz, watchers, zombies, networks (SCALE=n, KILLS=n for more)
	$(PYTEST) -n 2 --dist loadgroup tests/torture
	$(PYTEST) -n 2 --dist loadgroup -m campaign tests/store
	POSTGRES=18 $(PYTEST) -n 2 --dist loadgroup -m "not campaign" tests/store/postgres tests/e2e/test_postgres.py

bench: .venv/.stamp  ## measure P1 ... P10, I1, W1, and P1 ... P7 on PostgreSQL; write bench/latest.json (half an hour)
	$(BIN)/python -m bench

demo: .venv/.stamp  ## real jobs, a kill -9, nothing lost (DIR=folder)
	$(BIN)/python examples/demo.py

docs: .venv/.stamp  ## write the generated pages of docs/, and the figures of the README
	$(BIN)/python -m tools.docs

figures: .venv/.stamp  ## show what make bench measured last, in the README and in docs/
	$(BIN)/python -m tools.figures_page
	$(BIN)/python -m tools.docs

site: .venv/.stamp  ## build the documentation as a site, offline, into build/site
	$(BIN)/python -m tools.site

pictures: .venv/.stamp  ## record the pictures of terminals in docs/img, from real runs
	$(BIN)/python -m tools.terminal_picture

interop: .venv/.stamp  ## build the examples of every language and judge them (LANGS=go,node, FAST=1, BUILD=1)
	$(BIN)/python -m tools.interop

clean:  ## remove everything that is not in git's care
	rm -rf examples/go/bin examples/go/gen examples/node/node_modules examples/java/target examples/rust/target
	rm -rf .venv .venv-gen build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
