# make run   the live server, with the demo, on http://127.0.0.1:4071
# make test  every test, the browsers' and the servers' too
# make lint  ruff and mypy
# make client  build what browsers load: comet/client becomes comet/static
# make bench the benchmark against its peers (ONLY="fanout growth": some works of it); make bench-quick a short one
# make soak  the long tests

PYTHON ?= python3
VENV := .venv
PEERS := .venv-bench
NODE := build/client
STATIC := comet/static
PAGE := docs/browser.md
BIN := $(VENV)/bin
BESIDE := -n 3 --dist loadfile --no-loadscope-reorder
# Hundreds of servers are started: each would compile all of comet if nothing kept that.
PYTEST := env -u COMET_DEMO -u COMET_OPEN -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q

# Node comes with certificates of its own; those that a company's network needs are among the system's.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export NODE_EXTRA_CA_CERTS ?= /etc/ssl/certs/ca-certificates.crt
endif
export COMET_DEMO ?= 1
export COMET_OPEN ?= 1

.PHONY: run test modules lint client bench bench-quick soak packages clean

run: $(VENV)/.installed
	@exec $(BIN)/gunicorn -c gunicorn.conf.py wsgi:app

# Tests mostly wait: three run beside each other, each file in one process. Files that are marked alone come last, one
# test at a time (tests/room.py).
test: lint packages modules
	@$(PYTEST) $(BESIDE) -m "not soak" --cov --cov-report=term:skip-covered $(TESTS)
ifndef TESTS
	@echo "What shows how updates are written, once more without direct writes:"
	@COMET_TEST_DIRECT_WRITES=0 $(PYTEST) $(BESIDE) -m "delivers and not soak" tests/live
endif

# What npm installs for the tests; without a registry, what needs it is skipped.
modules:
	@$(MAKE) -s $(NODE)/.installed || echo "npm can't install: what needs its packages is skipped"

lint: $(VENV)/.tests-installed
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check . && $(BIN)/mypy

# Node comes from PyPI, as everything else of the tests; its packages are installed beside their lock, below build.
client: $(NODE)/.installed
	@STATIC=$(STATIC) NODE=$(NODE) PAGE=$(PAGE) PATH=$(abspath $(BIN)):$$PATH sh comet/client/tools/build.sh

$(NODE)/.installed: comet/client/package.json comet/client/package-lock.json $(VENV)/.tests-installed
	@mkdir -p $(NODE) && cp comet/client/package.json comet/client/package-lock.json $(NODE)
	@cd $(NODE) && PATH=$(abspath $(BIN)):$$PATH npm ci --silent --no-audit --no-fund --fetch-retries=1 && touch .installed

bench: $(VENV)/.installed $(PEERS)/.installed
	@sh tests/packages.sh bench/packages.txt
	@env -u COMET_DEMO -u COMET_OPEN $(BIN)/python -m bench $(ONLY)

bench-quick: $(VENV)/.installed
	@sh tests/packages.sh bench/packages.txt
	@env -u COMET_DEMO -u COMET_OPEN $(BIN)/python -m bench quick

soak: $(VENV)/.tests-installed packages
	@$(PYTEST) -m soak $(TESTS)

# Debian's packages that the tests start: browsers, proxies. Only root installs; else the tests that miss one are skipped.
packages:
	@sh tests/packages.sh

$(VENV)/bin/python:
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt && touch $@

$(VENV)/.tests-installed: tests/requirements.txt $(VENV)/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r tests/requirements.txt && touch $@

$(PEERS)/.installed: bench/requirements.txt requirements.txt
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -q --disable-pip-version-check -r bench/requirements.txt && touch $@

clean:
	rm -rf $(VENV) $(PEERS) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
