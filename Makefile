# Everything happens in .venv, which is made on first use.  On Debian, as
# root, missing servers are installed too; elsewhere you are told what to do.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DISTRIBUTIONS := . plugins/file plugins/memcached
TESTS := tests $(wildcard plugins/*/tests)
SOURCES := mako_cacheplug plugins/file/mako_cacheplug_file plugins/memcached/mako_cacheplug_memcached templates_test benchmarks campaigns tools
METADATA := $(wildcard setup.cfg pyproject.toml plugins/*/setup.cfg plugins/*/pyproject.toml)
BEAKER := $(VENV)/beaker-1.13
MAKOS := $(addprefix $(VENV)/mako-,1.3.0 1.3.x 1.4.x)
PORT ?= 8000
EXAMPLES ?= 500

.PHONY: help demo serve test soak lint types docs wheels bench bench-quick results herd servers clean

help:
	@echo "make demo    render the sample site on every store and compare"
	@echo "make serve   the same site for a browser, on port $(PORT)"
	@echo "make test    every distribution's tests, on real servers"
	@echo "make soak    the campaigns, hours long; writes SURVIVES.rst"
	@echo "make lint types docs wheels    what else CI checks"
	@echo "make bench   what it costs beside the other plugins, 10 minutes"
	@echo "make bench-quick    the same in one; make results writes RESULTS.rst"
	@echo "make herd    who creates, and who waits how long"

$(VENV)/made:
	@tools/make_venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made requirements/demo.txt $(METADATA)
	@echo "installing the distributions"
	@$(PIP) install -e ".[cli]" $(patsubst %,-e %,$(filter plugins/%,$(DISTRIBUTIONS))) -r requirements/demo.txt
	@touch $@

$(VENV)/installed-%: requirements/%.txt $(VENV)/installed
	@echo "installing requirements/$*.txt"
	@$(PIP) install -r $<
	@touch $@

# The newest Mako of each line, and the oldest: for tests, beside the one above.
$(VENV)/mako-%/installed: $(VENV)/made
	@echo "installing Mako $*"
	@$(PIP) install --no-deps --target $(@D) 'Mako==$(subst x,*,$*)'
	@touch $@

# The last Beaker that takes pylibmc, for the benchmarks, which do without it
# where it cannot be installed.
$(BEAKER)/installed: $(VENV)/made
	@echo "installing Beaker 1.13"
	@$(PIP) install --no-deps --target $(@D) 'Beaker==1.13.*' && touch $@ || echo "it is left out"

demo: $(VENV)/installed
	@$(BIN)/python -m templates_test.demo

serve: $(VENV)/installed
	@$(BIN)/python -m templates_test.serve --port $(PORT)

servers:
	@tools/ensure_servers memcached redis-server

test: servers $(VENV)/installed-test $(VENV)/installed-bench $(addsuffix /installed,$(MAKOS))
	$(BIN)/python -m pytest $(TESTS)

soak: servers $(VENV)/installed-test $(VENV)/installed-bench $(BEAKER)/installed
	MAKO_CACHEPLUG_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/test_property.py
	$(BIN)/python -m benchmarks.circles --rounds 6000
	$(BIN)/python -m campaigns --long --peers --write SURVIVES.rst

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test $(VENV)/installed-bench $(VENV)/installed-dev
	$(BIN)/mypy $(SOURCES)

docs: $(VENV)/installed-docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

wheels: $(VENV)/installed-test
	tools/check_wheels $(BIN)/python $(DISTRIBUTIONS)

bench bench-quick results: servers $(VENV)/installed-test $(VENV)/installed-bench $(BEAKER)/installed

bench:
	$(BIN)/python -m benchmarks

bench-quick:
	$(BIN)/python -m benchmarks --quick

results:
	$(BIN)/python -m benchmarks --write RESULTS.rst

herd: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.herd

clean:
	rm -rf $(VENV) dist build docs/_build *.egg-info plugins/*/*.egg-info
