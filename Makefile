# `make run` starts everything; `make test` passes every test. Both set the environment up themselves.
.PHONY: setup run test chaos check bench lock clean system
.DEFAULT_GOAL := help

# Hundreds of processes are started by the tests: none of them should compile what others have compiled.
unexport PYTHONDONTWRITEBYTECODE

PORT ?= 8080
DATA ?= .yardmaster
PYTEST ?=
# Tests mostly wait for their processes: two at once keep two cores busy. WORKERS=0 runs them one by one.
WORKERS ?= 2

help:
	@echo "make run [PORT=8080 DATA=.yardmaster]   start the service with PostgreSQL, Redis and three example pools"
	@echo "make test [PYTEST='-k name' WORKERS=2]  every test"
	@echo "make chaos [CHAOS_SEED=n]               crash everything at random for minutes, then check what is left"
	@echo "make check                              ruff, mypy, import-linter, alembic check"
	@echo "make bench                              measure"

setup:
	@scripts/setup

run: setup
	@exec .venv/bin/yard serve --embedded --examples --port $(PORT) --data $(DATA)

test: setup system
	@exec .venv/bin/python -m pytest -n $(WORKERS) $(PYTEST)

# Prints its seed; CHAOS_SEED=n repeats one.
chaos: setup
	@CHAOS=long exec .venv/bin/python -m pytest -s tests/chaos/test_crash_run.py

check: setup
	@scripts/check

bench: setup
	@exec .venv/bin/python -m scripts.bench

lock:
	@scripts/lock

# What the tests need beyond Python: a browser. Installed where we may.
system:
	@scripts/system

clean:
	rm -rf .venv .venv-uv .mypy_cache .ruff_cache .pytest_cache .hypothesis
