# One command each. `make` alone lists them.
# The environment is made again whenever the lock or the project file changes, and only then.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made-from-lock
KIT    ?= ../shared/acceptance
# Most tests wait more than they reckon. Each worker starts servers of its own; a file stays with one worker.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-audit test fast lint format types faults fuzz soak bench acceptance parts lock clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

venv: $(STAMP)  ## make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fencepost needs Python 3.11; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

demo: venv  ## the whole story on an embedded PostgreSQL and an embedded broker
	$(BIN)/fencepost demo

demo-audit: venv  ## between cutovers: a burst of drops, the alarm, the ids, the backfill, in about a minute
	$(BIN)/fencepost demo --audit

test: lint types  ## everything: lint, types, and all tests on real servers (CI=true: a missing part is a failure)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

fast: venv  ## the tests that need no server
	$(BIN)/python -m pytest -m "not parts"

faults: venv  ## every fault of the suite by several seeds; writes tests/faults/results.json and docs/blind-spots.md
	$(BIN)/python -m tests.faults --seeds 1 2 3 --write
	$(BIN)/python docs/make_blind_spots.py

FUZZ_EXAMPLES ?= 20000
fuzz: venv  ## any bytes to every decoder, against fastavro and Python's own JSON; by FUZZ_EXAMPLES, about half an hour
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -n $(WORKERS) --timeout=0 --hypothesis-profile=deep --hypothesis-show-statistics \
		tests/consumer/formats/test_fuzz.py tests/consumer/formats/test_avro_oracle.py tests/consumer/formats/test_json_forms.py

SOAK_MINUTES ?= 30
SOAK_SEED    ?= 1
AUDIT_MINUTES ?= 60
AUDIT_SEEDS  ?= 200
soak: venv  ## random faults and kills for SOAK_MINUTES, an audit that is struck for AUDIT_MINUTES, and AUDIT_SEEDS histories of looks, from SOAK_SEED
	$(BIN)/python -m tests.faults --minutes $(SOAK_MINUTES) --seeds $(SOAK_SEED)
	$(BIN)/python -m tests.audit --minutes $(AUDIT_MINUTES) --seed $(SOAK_SEED)
	AUDIT_STRIDE=1 AUDIT_SEEDS=$(AUDIT_SEEDS) AUDIT_FIRST_SEED=$$(($(SOAK_SEED) * 1000)) $(BIN)/python -m pytest --timeout=1800 \
		tests/audit/test_broken_off.py tests/audit/test_model.py

lint: venv  ## ruff, code and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv  ## rewrite the code in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: venv  ## mypy, strict
	$(BIN)/mypy

bench: venv  ## the figures of bench/, as ratios side by side
	$(BIN)/python -m bench

# The kit brings its own settings: ours (warnings are errors, strict markers) must not leak into it, and it may lie in a
# folder that cannot be written.
acceptance: venv  ## the acceptance kit, where there is one (KIT=folder)
	@test -d $(KIT) || { echo "no acceptance kit in $(KIT): set KIT=folder" >&2; exit 1; }
	FENCEPOST=$(CURDIR)/$(BIN)/fencepost PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS= \
		$(BIN)/python -m pytest -q -c /dev/null --rootdir=$(KIT) -p no:cacheprovider $(KIT)

# A package would start its server at once, PostgreSQL's on 5432: the policy tells dpkg to start none while we unpack.
parts:  ## install the parts that no package of ours brings: PostgreSQL 15, PgBouncer, Prometheus, Alertmanager, libfaketime (Debian, as root)
	@set -e; packages=; \
	test -x /usr/lib/postgresql/15/bin/postgres || packages="$$packages postgresql-15"; \
	command -v promtool >/dev/null || packages="$$packages prometheus"; \
	command -v prometheus-alertmanager >/dev/null || packages="$$packages prometheus-alertmanager"; \
	PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || packages="$$packages pgbouncer"; \
	command -v faketime >/dev/null || packages="$$packages faketime"; \
	if test -z "$$packages"; then echo "all parts are here"; \
	elif test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; policy=/usr/sbin/policy-rc.d; \
		if ! test -e $$policy; then trap "rm -f $$policy" EXIT; printf '#!/bin/sh\nexit 101\n' > $$policy; chmod 755 $$policy; fi; \
		apt-get update -q && apt-get install -qy --no-install-recommends postgresql-common && \
		{ grep -qs '^create_main_cluster = false' /etc/postgresql-common/createcluster.conf || \
			echo 'create_main_cluster = false' >> /etc/postgresql-common/createcluster.conf; } && \
		apt-get install -qy --no-install-recommends $$packages; \
	else echo "missing:$$packages; install these Debian packages as root; their tests are skipped" >&2; fi

lock:  ## resolve the dependencies anew into requirements.lock and docker/requirements.lock (needs uv)
	UV=$$(test -x $(BIN)/uv && echo $(BIN)/uv || command -v uv) || { echo "make lock needs uv" >&2; exit 1; }; \
	resolve() { $$UV pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --custom-compile-command "make lock" "$$@"; }; \
	resolve --all-extras -o requirements.lock && resolve -c requirements.lock -o docker/requirements.lock

clean:  ## remove what was built, but not the servers' jars in ~/.cache/fencepost
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
