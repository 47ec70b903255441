# make run   the live server, with the demo, on http://127.0.0.1:4071
# make test  every test, the browsers' and the servers' too
# make lint  ruff and mypy
# make bench the benchmark against its peers; make bench-quick a short one
# make soak  the long tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export COMET_DEMO ?= 1
export COMET_OPEN ?= 1

.PHONY: run test lint bench bench-quick soak packages clean

run: $(VENV)/.installed
	@exec $(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

test: lint packages
	@env -u COMET_DEMO -u COMET_OPEN $(BIN)/python -m pytest -q -m "not soak" --cov --cov-report=term:skip-covered $(TESTS)

lint: $(VENV)/.tests-installed
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy

bench bench-quick: $(VENV)/.tests-installed packages
	@env -u COMET_DEMO -u COMET_OPEN $(BIN)/python -m bench $(if $(filter bench-quick,$@),--quick)

soak: $(VENV)/.tests-installed packages
	@env -u COMET_DEMO -u COMET_OPEN $(BIN)/python -m pytest -q -m soak $(TESTS)

# Debian's packages that the tests start: browsers, proxies. Only root installs; else the tests that miss one are skipped.
packages:
	@sh tests/packages.sh

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt && touch $@

$(VENV)/.tests-installed: tests/requirements.txt $(VENV)/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r tests/requirements.txt && touch $@

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
