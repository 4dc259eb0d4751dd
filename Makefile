# Two commands do everything: `make demo` runs the whole loop, `make test` passes the tests.
# Both make the environment in .venv first; run again, they find it there.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: help demo test test-slow check bench clean
help:
	@echo 'make demo    the whole loop on the sample pool   (ARGS="--exit --fresh")'
	@echo 'make test    the tests                           (ARGS="-k pairs")'
	@echo 'make test-slow   those that kill servers for minutes or play clips against the clock'
	@echo 'make check   style, types, layers, docs'
	@echo 'make bench   the benchmarks'

demo: .venv/.demo
	$(BIN)/robopref demo $(ARGS)

test: .venv/.dev
	scripts/test $(ARGS)

test-slow: .venv/.dev
	scripts/test slow $(ARGS)

check: .venv/.dev
	scripts/check

bench: .venv/.dev
	scripts/bench/all $(ARGS)

clean:
	rm -rf .venv demo dist build

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo 'Robopref needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.13 ...' >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[ml,studio,weights]'
	touch $@

.venv/.dev: .venv/.demo
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[ml,studio,scale,s3,mcap,sim,weights,dev]'
	touch $@
