# Everything a newcomer runs. One rule: what runs long is started by `exec`, so that Ctrl-C reaches the program and not a shell around it.

PYTHON_OLDEST := 3.11
UV_VERSION := 0.13.8
PIP_AUDIT_VERSION := 2.10.1
VENV := .venv
PEERS := .venv-peers
TRYTON := .venv-tryton
NODE := .venv-node
INSTALLED := $(VENV)/.installed
COMPILED := build/core/.compiled
YAML_RULES := {extends: default, rules: {document-start: disable, line-length: {max: 120}}}
ARCHIVE_TESTS := tests/transcript tests/browser $(wildcard tests/local/test_archive_*.py tests/local/test_erase.py tests/local/test_token.py)

# Any of these that is new enough; PYTHON=/path/to/python names another.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
UV = $(shell command -v uv 2>/dev/null || echo $(VENV)/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help install system-packages compile demo test test-mail test-archive test-pages test-crm tryton test-ops test-faults simulate theory repeatable check audit bench generate lock

help: ## say what each of these does
	@exec sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | awk -F "|" '{printf "%-17s %s\n", $$1, $$2}'

install: $(INSTALLED) ## put everything into .venv
	@echo "Installed in $(VENV)."

$(INSTALLED): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python $(PYTHON_OLDEST) or newer was found: install one (python.org, apt, brew), or run make PYTHON=/path/to/python." >&2; exit 1; }
	@test -z "$(wildcard $(VENV)/bin)" || $(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "$(VENV) holds a Python that is broken or older than $(PYTHON_OLDEST): delete $(VENV) and run it again." >&2; exit 1; }
	@if command -v uv >/dev/null; then \
		test -e $(VENV)/bin/python || uv venv --quiet --python "$(PYTHON)" $(VENV); \
	elif ! $(VENV)/bin/uv --version >/dev/null 2>&1; then \
		$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv $(VENV) >/dev/null || \
			{ echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }; \
		$(VENV)/bin/python -m pip install -q --retries 1 uv==$(UV_VERSION) 2>$(VENV)/pip.log || { $(call cannot_fetch); }; \
	fi
	@$(UV) pip install --python $(VENV)/bin/python --require-hashes -r requirements/dev.txt || { $(call cannot_fetch); }
	@$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable . || { $(call cannot_fetch); }
	@touch $@

system-packages: ## install what the tests need of Debian, the list is in requirements/debian.sh; needs root
	@exec bash requirements/debian.sh

compile: $(COMPILED) ## compile the router's core; without a C compiler it runs as plain Python, half as fast

$(COMPILED): $(INSTALLED) deploy/compiled.py $(wildcard services/router/core/*.py schemas/*.py)
	@mkdir -p $(@D)
	@$(VENV)/bin/python deploy/compiled.py >$(@D)/log 2>&1 || { tail -n 1 $(@D)/log >&2; test "$(CI)" != true; }
	@touch $@

define cannot_fetch
test "$$(df -Pk . | awk 'NR == 2 {print $$4}')" -gt 1000000 \
	&& echo "The packages cannot be fetched: check the network or the HTTPS_PROXY variable, and run it again." >&2 \
	|| echo "The disk is full: free 1 GB and run it again." >&2; exit 1
endef

demo: $(COMPILED) ## act out a sample day on a real Kafka and the four workers, and check the outcome
	@exec $(VENV)/bin/chat-routing demo

test: $(COMPILED) ## run the tests
	@exec $(VENV)/bin/pytest $(PYTEST_ARGS)

test-mail: $(INSTALLED) ## send mails through a real Postfix of its own, on loopback; needs root, and Debian's postfix and sasl2-bin
	@exec $(VENV)/bin/pytest -m mta tests/mta $(PYTEST_ARGS)

test-archive: $(INSTALLED) ## all tests of archive, read API, pages, export and erasure, on SQLite and PostgreSQL; needs Debian's chromium
	@exec $(VENV)/bin/pytest -m "not faults and not mta" $(or $(PYTEST_ARGS),$(ARCHIVE_TESTS))

test-crm: $(COMPILED) $(TRYTON)/.installed ## all tests of what goes into a CRM, a real Tryton of its own included
	@exec $(VENV)/bin/pytest -m "not faults" $(or $(PYTEST_ARGS),tests/crm_sync tests/crm_live)

tryton: $(TRYTON)/.installed ## put the CRM Tryton into an environment of its own, for `chat-routing up --crm tryton` and test-crm

$(TRYTON)/.installed: requirements/tryton.txt $(INSTALLED)
	@test -e $(TRYTON)/bin/python || $(UV) venv --quiet --python $(VENV)/bin/python $(TRYTON)
	@$(UV) pip install --quiet --python $(TRYTON)/bin/python --require-hashes -r requirements/tryton.txt && touch $@ \
		|| { echo "Tryton cannot be installed; its tests will say so." >&2; test "$(CI)" != true; }

test-pages: $(INSTALLED) ## pages in a real browser, and the read API asked at some length; some minutes; needs Debian's chromium
	@exec env ARCHIVE=short $(VENV)/bin/pytest -m archive $(or $(PYTEST_ARGS),tests/browser tests/transcript/test_api_schema.py)

test-ops: $(COMPILED) ## prove what operators rely on, on real parts: access lists, TLS, alerts, the image; some minutes; `make system-packages` first
	@exec $(VENV)/bin/pytest -m "ops or not ops" tests/ops $(PYTEST_ARGS)

test-faults: $(COMPILED) ## break a real cluster on purpose, for minutes, and compare every record; FAULTS=long for the long run
	@exec $(VENV)/bin/pytest -m faults -s --show-capture=no tests/faults $(PYTEST_ARGS)

simulate: $(COMPILED) ## step the runner through many more seeds, and days of the router, on all cores; SEEDS=20000, or SEED=7 for one again
	@exec $(VENV)/bin/python -m tests.simulation $(SEED) --seeds $(or $(SEEDS),20000)
	@exec $(VENV)/bin/python -m tests.days $(SEED) --seeds $(or $(SEEDS),10000)

theory: $(COMPILED) ## compare the router's waits with a queue recursion's, and those with Erlang's formulas, at 500,000 arrivals
	@exec $(VENV)/bin/python -m tests.theory --arrivals $(or $(ARRIVALS),500000)

repeatable: $(COMPILED) ## decide one day of 20,000 chats in memory, offline and on Kafka, and compare every byte; CHATS=2000 for fewer
	@exec env REPEATABLE_CHATS=$(or $(CHATS),20000) $(VENV)/bin/pytest --durations=0 tests/end_to_end/test_repeatable.py

$(NODE)/.installed: requirements/node/package.json requirements/node/package-lock.json
	@mkdir -p $(NODE) && cp $^ $(NODE) && npm ci --prefix $(NODE) --silent --ignore-scripts --no-audit --no-fund && touch $@ \
		|| { echo "dclint cannot be installed (it needs Node.js 20.19 or newer, and npm); the compose file is checked without it." >&2; test "$(CI)" != true; }

check: $(INSTALLED) $(NODE)/.installed ## lint, format, types, import rules, Dockerfile, compose file
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m schemas.generate --check
	$(VENV)/bin/python -m services.local.docs --check
	$(VENV)/bin/python -m services.local.manifests --check
	$(VENV)/bin/hadolint deploy/Dockerfile
	$(VENV)/bin/yamllint --strict --config-data '$(YAML_RULES)' deploy
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(VENV)/bin/compose-lint --quiet deploy/compose.yaml
	test ! -e $(NODE)/.installed || $(NODE)/node_modules/.bin/dclint --config requirements/node/package.json --max-warnings 0 deploy/compose.yaml

audit: $(INSTALLED) ## ask PyPI's and npm's services about known holes in what we depend on; needs the network
	$(UV) tool run --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --disable-pip --require-hashes -r requirements/runtime.txt
	$(UV) tool run --from pip-audit==$(PIP_AUDIT_VERSION) pip-audit --strict --disable-pip --require-hashes -r requirements/build.txt
	npm audit --prefix requirements/node

bench: $(COMPILED) $(PEERS)/.installed ## measure speed against a plain loop and peers, latency, recovery and memory, within 10 minutes
	@exec $(VENV)/bin/python -m bench

$(PEERS)/.installed: bench/peers/requirements.txt
	@test -e $(PEERS)/bin/python || $(UV) venv --quiet --python $(VENV)/bin/python $(PEERS)
	@$(UV) pip install --quiet --python $(PEERS)/bin/python --require-hashes -r bench/peers/requirements.txt \
		&& touch $@ || echo "The peers cannot be installed; their rows will say so." >&2

generate: $(INSTALLED) ## write what is generated: JSON Schemas, AsyncAPI, the README's tables, the dashboards, Kubernetes' resources
	$(VENV)/bin/python -m schemas.generate
	$(VENV)/bin/python -m services.local.docs
	$(VENV)/bin/python -m services.local.manifests
	$(VENV)/bin/python deploy/grafana/dashboards.py

lock: $(INSTALLED) ## resolve all dependencies anew and write their sums
	$(UV) pip compile pyproject.toml --extra local --group dev --universal --python-version $(PYTHON_OLDEST) \
		--generate-hashes --no-header --no-emit-index-url --upgrade -o requirements/dev.txt
	$(UV) pip compile pyproject.toml -c requirements/dev.txt --universal --python-version $(PYTHON_OLDEST) \
		--generate-hashes --no-header --no-emit-index-url -o requirements/runtime.txt
	printf '%s\n' hatchling mypy setuptools | $(UV) pip compile - -c requirements/dev.txt --universal --python-version $(PYTHON_OLDEST) \
		--generate-hashes --no-header --no-emit-index-url -o requirements/build.txt
	$(UV) pip compile bench/peers/requirements.in --universal --python-version $(PYTHON_OLDEST) \
		--generate-hashes --no-header --no-emit-index-url -o bench/peers/requirements.txt
	$(UV) pip compile requirements/tryton.in --universal --python-version $(PYTHON_OLDEST) \
		--generate-hashes --no-header --no-emit-index-url -o requirements/tryton.txt
	npm update --prefix requirements/node --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	$(VENV)/bin/python -m services.local.artifacts
