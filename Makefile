# Everything that a developer types. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Every command here starts many Python processes: none must compile again what another has.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help run test check fix clean reset machine bench bench-admin bench-compare clients faults flood takeover accessibility

# An environment whose Python has gone, as after an upgrade of the system, is none.
$(shell test ! -e $(INSTALLED) || $(BIN)/python -c '' >/dev/null 2>&1 || rm -f $(INSTALLED))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: machine $(INSTALLED) ## start everything for a try-out, on http://127.0.0.1:8000 (Ctrl-C stops it)
	@exec $(BIN)/python -m development.run

test: machine $(INSTALLED) ## install, check and test everything, on a real MongoDB and in a real browser
	@# The checks keep one processor busy; beside them the tests are compiled, which each test process would do.
	@$(BIN)/python -m pytest --collect-only -qq </dev/null >/dev/null & $(MAKE) --no-print-directory check && wait
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder </dev/null

bench: machine $(INSTALLED) ## measure speed and memory, in about 4 minutes (`make bench QUICK=1`: one)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-admin: machine $(INSTALLED) ## measure every page of the admin with a million accounts (the first run loads them: 20 minutes)
	@$(BIN)/python -m benchmarks.admin

bench-compare: machine $(INSTALLED) ## compare speed with another checkout, taking turns, in 3 minutes: `make bench-compare TREE=../other`
	@$(BIN)/python -m benchmarks.compare $(TREE)

faults: machine $(INSTALLED) ## break the platform under load and audit it: `make faults MINUTES=5 SEED=1 MEMBERS=3 TIMES=short`
	@exec $(BIN)/python -m faults $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(MEMBERS),--members $(MEMBERS)) $(if $(TIMES),--times $(TIMES)) $(if $(FREEZE),--freeze $(FREEZE)) \
		$(if $(ROUND),--round $(ROUND)) $(foreach kind,$(ONLY),--only $(kind))

clients: machine $(INSTALLED) ## run real SDKs and agents of Node.js and Python against it, and check every bill (`make clients ONLY=codex`)
	@exec $(BIN)/python -m clients $(foreach name,$(ONLY),--only $(name))

flood: machine $(INSTALLED) ## let thousands of silent, slow and greedy clients at it, and measure what others notice, in 4 minutes
	@$(BIN)/python -m benchmarks.flood

takeover: machine $(INSTALLED) ## take over, use, go back, come again, and compare every cent: `make takeover ACCOUNTS=10000 SEED=1`
	@TAKEOVER_ACCOUNTS=$(or $(ACCOUNTS),1000) TAKEOVER_SEED=$(or $(SEED),1) \
		$(BIN)/python -m pytest -q -s tests/takeover/test_cycle.py </dev/null

accessibility: machine $(INSTALLED) ## look at every page with axe-core, light and dark, on a desk and a phone, in 6 minutes
	@ACCESSIBILITY=1 $(BIN)/python -m pytest -q tests/e2e/test_accessibility.py </dev/null

check: $(INSTALLED) ## style, types, directions of imports
	@sh development/check_owner.sh $(CACHES)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# Its Django plug-in imports the settings; the values are never used.
	SECRET_KEY=unused DATABASE_URL=mongodb://127.0.0.1/unused $(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED) ## let ruff repair what it can
	@sh development/check_owner.sh $(CACHES)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Not below var/: what is in there is no cache, and may be another user's.
CACHES := .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
PYCACHES = $$(find . \( -path ./var -o -path ./.git -o -path ./$(VENV) \) -prune -o -name __pycache__ -type d -prune -print)

clean: ## remove the virtual environment and caches; the data in var/ stay
	@sh development/check_owner.sh $(VENV) $(CACHES) $(PYCACHES)
	rm -rf $(VENV) $(CACHES) $(PYCACHES)

reset: ## remove the try-out's data, secrets and logs (var/); stop `make run` first
	@sh development/check_owner.sh var
	rm -rf var

# Installs again when the requirements change. The stamp goes first and is written last: an environment without it is
# unfinished, whatever pip thinks of what lies there, and is made anew.
$(INSTALLED): requirements.txt requirements-dev.txt | machine
	@sh development/check_owner.sh $(VENV)
	@if test -e $@; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	@echo "Installing the requirements into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@

# What pip cannot install, before it installs anything.
run: NEEDS = $(if $(DATABASE_URL),,database) curl
test: NEEDS = database curl browser
bench bench-admin bench-compare clients takeover: NEEDS = database
machine:
	@sh development/prepare_machine.sh $(PYTHON) $$(test -e $(INSTALLED) || echo python) $(NEEDS)
