# What CI runs: make check. Every step runs with -k, so that one failure doesn't hide another.
PYTHON ?= python

.PHONY: check lint types test
check: lint types test

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -q -n auto --dist loadfile --durations=15
