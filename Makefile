# `make run` and `make test` work on a fresh clone: they make what they need. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
CONFIG ?= deployments/laptop.yaml
PROMPT ?= sunflower
SEED ?= 7
SCENARIO ?= smoke
ARGS ?=
COVERAGE ?=
# Pytest would otherwise compile its test modules anew in every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run studio studio-types studio-check stop status test stacks shared-stack own-stacks beside-stacks side-by-side training coverage quick check clients postgresql redis prometheus iproute printing chromium firefox load chaos attack mutations bench docs

help: ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: .venv/.compiled studio ## set up, start the stack, draw PROMPT through it, make an SVG of the drawing, keep serving
	@$(BIN)/atelier up --detach --config $(CONFIG)
	@mkdir -p var
	@ATELIER_CONFIG=$(CONFIG) $(BIN)/atelier illustrate "$(PROMPT)" --seed $(SEED) --output var/drawing.png
	@ATELIER_CONFIG=$(CONFIG) $(BIN)/atelier vectorize var/drawing.png --output var/drawing.svg --validate
	@echo
	@echo "\"$(PROMPT)\" was drawn and vectorised by the stack:"
	@echo "  $(abspath var/drawing.png)"
	@echo "  $(abspath var/drawing.svg)"
	@echo "The stack keeps serving. Look at it with 'make status', stop it with 'make stop'."

studio: studio/dist/index.html ## build the web application, which the stack serves at /

STUDIO := $(shell find studio/src studio/public -type f) $(addprefix studio/,index.html vite.config.ts package-lock.json)
studio/dist/index.html: studio/node_modules/.ready $(STUDIO)
	@echo "Building the web application"
	@cd studio && ./with-node npm run --silent build -- --logLevel warn

studio/node_modules/.ready: studio/package-lock.json
	@cd studio && ./with-node npm ci --silent --no-progress && touch node_modules/.ready

studio-types: .venv/.testing studio/node_modules/.ready ## the web application's types, from the HTTP API
	$(BIN)/atelier openapi | (cd studio && ./with-node npm run --silent types)

studio-check: .venv/.testing studio/node_modules/.ready
	cd studio && ./with-node npm run --silent check
	$(BIN)/atelier openapi | (cd studio && ./with-node npm run --silent types -- --check)

stop: ## stop the stack
	@$(BIN)/atelier down --config $(CONFIG)

status: ## whether the stack is ready
	@$(BIN)/atelier status --config $(CONFIG)

# Two lanes side by side. Whole stacks run one after the other, and have the processors first: Ray's own limits on the
# start of a node are exceeded on a busy machine. All else runs beside them with a lower priority, in what they leave: they
# wait a good part of their time. What trains runs in a process of its own, with what else imports PyTorch: no server has
# to live with it, and no test of one either; and to import it takes each process several seconds.
# A process that dies ends the run: pytest-xdist 3.8 may wait for ever for the one that takes its place.
# The longest files come first (tests/conftest.py). Tests wait, too, for disks and clocks: with one and a half processes
# for each processor it is kept busy.
WORKERS := $(shell n=$$(( $$(nproc) * 3 / 2 )); echo $$(( n > 6 ? 6 : n )))
SIDE_BY_SIDE := -n $(WORKERS) --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
TORCH_TESTS = $(shell grep -rlE '^(import|from) (torch|diffusers)' tests --include='test_*.py' --exclude-dir=build_engines)
WITHOUT_TORCH = --ignore=tests/build_engines $(TORCH_TESTS:%=--ignore=%)
STACK_TESTS = $(shell grep -rl 'mark\.cluster' tests --include='test_*.py')
OWN_STACKS := $(foreach name,chaos machines_on_stack rollouts_on_stack scaling_on_stack,tests/cluster/own_stacks/test_$(name).py)
STACKS = $(BIN)/python -m pytest -m "cluster and not gpu" --durations=15 $(COVERAGE)
STACKS_AT_A_TIME ?= 1
LANES_AT_A_TIME ?= $(if $(COVERAGE),1,2)
LANES = --jobs $(LANES_AT_A_TIME) --output-sync=target
NICE := nice -n 10
test: clients postgresql redis prometheus iproute printing chromium firefox .venv/.compiled .venv/.testing studio ## everything that a fresh machine can run
	$(MAKE) $(LANES) stacks beside-stacks

stacks: .venv/.testing
	$(MAKE) --jobs $(STACKS_AT_A_TIME) shared-stack own-stacks

# The shared stack and what else is as long together as the tests with settings and kills of their own.
shared-stack: .venv/.testing
	$(STACKS) $(filter-out $(OWN_STACKS),$(STACK_TESTS))

own-stacks: .venv/.testing
	$(STACKS) $(OWN_STACKS)

beside-stacks: .venv/.testing
	$(NICE) $(MAKE) $(LANES) check training
	$(NICE) $(MAKE) side-by-side

side-by-side: .venv/.testing
	$(BIN)/python -m pytest -m "not (cluster or gpu)" --durations=15 $(SIDE_BY_SIDE) $(COVERAGE) $(WITHOUT_TORCH)

# Networks here are tiny, and other processes are at work: threads of PyTorch would wait for each other by spinning.
training: .venv/.testing
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" --durations=5 $(COVERAGE) tests/build_engines $(TORCH_TESTS)

# Lines are counted in replicas and stubs, too, which makes whatever has a time limit slower: so by itself.
coverage: .venv/.testing ## the same tests, and which lines they run
	$(BIN)/coverage erase
	$(MAKE) test COVERAGE="--cov --cov-append --cov-fail-under=0 --cov-report="
	$(BIN)/coverage report

quick: check .venv/.compiled ## lint, types, and the tests that need no server
	$(BIN)/python -m pytest -m "not (cluster or ray or triton or postgresql or redis or prometheus or slow or gpu)" \
	  --durations=5 $(SIDE_BY_SIDE) $(WITHOUT_TORCH) --ignore=tests/attacks --ignore=tests/api/openapi/test_openapi_promises.py

check: .venv/.testing studio-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clients: .venv-clients/.ready .venv-litellm/.ready .venv-perf/.ready ## other projects' clients, in environments of their own

postgresql: ## a PostgreSQL server for the tests, from Debian's package
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  echo "Installing PostgreSQL (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y postgresql >/dev/null; }

redis: ## a Redis server for the tests, from Debian's package
	@command -v redis-server >/dev/null || { \
	  echo "Installing Redis (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y redis-server >/dev/null; }

prometheus: ## a Prometheus server and an Alertmanager for the tests, from Debian's packages
	@{ command -v prometheus && command -v prometheus-alertmanager; } >/dev/null || { \
	  echo "Installing Prometheus and Alertmanager (Debian's packages)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	    prometheus prometheus-alertmanager >/dev/null; }

iproute: ## the command `ip` for simulated machines, from Debian's package; without root their tests are skipped
	@command -v ip >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "Installing iproute2 (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y iproute2 >/dev/null; }

printing: ## Ghostscript and Poppler, which open exported drawings in tests; without root those are skipped
	@{ command -v gs && command -v pdftoppm; } >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "Installing Ghostscript and Poppler (Debian's packages)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	    ghostscript poppler-utils >/dev/null; }

chromium: ## Chromium for the tests of the web application, from Debian's package; without root they are skipped
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "Installing Chromium (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium \
	    >/dev/null; }

# Debian's Firefox, and puppeteer, which drives it; in an environment of its own.
firefox: tests/studio/firefox/node_modules/.ready ## Firefox for the tests of the web application, from Debian's package; without root they are skipped
	@command -v firefox-esr >/dev/null || [ "$$(id -u)" != 0 ] || { \
	  echo "Installing Firefox (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends firefox-esr \
	    >/dev/null || echo "no Firefox here: its tests are skipped"; }

tests/studio/firefox/node_modules/.ready: tests/studio/firefox/package-lock.json
	@cd tests/studio/firefox && ../../../studio/with-node npm ci --silent --no-progress && touch node_modules/.ready

load: .venv/.testing ## users on a running stack; SCENARIO=smoke|... ARGS=--stack starts one for it
	$(BIN)/python -m loadtests.load $(SCENARIO) $(ARGS)

chaos: .venv/.testing postgresql redis iproute .venv/.compiled ## kill and freeze the parts of a stack under load; CHAOS=--short
	$(BIN)/python -m loadtests.chaos $(CHAOS)
	$(if $(CHAOS),,$(BIN)/python -m loadtests.chaos.nodes)
	$(if $(CHAOS),,LONG_FORM=1 $(BIN)/python -m pytest -q tests/jobs/test_killed_workers.py tests/jobs/test_storage_outage.py)

attack: .venv/.testing postgresql redis .venv/.compiled ## malformed requests at every door, many more than the tests throw
	$(BIN)/python -m tests.attacks.malformed --seed $(SEED) --requests 10000
	LONG_FORM=1 $(BIN)/python -m pytest -q tests/attacks tests/api/openapi/test_openapi_promises.py tests/api/jobs/test_jobs_agree.py \
	  tests/cluster/shared_stack/test_random_bytes_on_stack.py

mutations: .venv/.testing ## break the code in thirty places, one at a time: do the tests notice? ARGS=NAME ...
	$(BIN)/python -m tests.programs.mutations $(ARGS)

# Not here: benchmarks.unet, which needs a GPU, and chaos, which has a target of its own. Rates, and a scenario, that exceed
# their limits do not hold up those after them, but fail the whole.
BENCH_LOAD := smoke tier_1 tier_2 tier_3 short_10 short_50 short_100 cached
bench: chromium .venv/.testing studio ## every table in the documents; two hours and more
	$(BIN)/python -m loadtests.benchmarks.engines
	$(BIN)/python -m loadtests.benchmarks.engine_client
	$(BIN)/python -m loadtests.benchmarks.gateway
	$(BIN)/python -m loadtests.benchmarks.vectorize
	$(BIN)/python -m loadtests.benchmarks.structure
	$(BIN)/python -m loadtests.benchmarks.strokes
	$(BIN)/python -m loadtests.benchmarks.photographs --icons 100
	$(BIN)/python -m loadtests.benchmarks.judges --limit 40
	$(BIN)/python -m loadtests.benchmarks.time
	$(BIN)/python -m loadtests.benchmarks.illustrate
	$(BIN)/python -m loadtests.benchmarks.adapters
	$(BIN)/python -m loadtests.benchmarks.style_transfer
	$(BIN)/python -m loadtests.benchmarks.load
	$(BIN)/python -m loadtests.benchmarks.queue
	$(BIN)/python -m loadtests.benchmarks.security
	$(BIN)/python -m loadtests.benchmarks.metrics
	$(BIN)/python -m loadtests.benchmarks.peers
	$(BIN)/python -m loadtests.benchmarks.tracing
	$(BIN)/python -m loadtests.benchmarks.studio
	$(BIN)/python -m loadtests.simulate --validate
	$(BIN)/python -m loadtests.simulate --plot docs/media
	$(BIN)/python -m loadtests.benchmarks.scaling
	@failed=""; $(BIN)/python -m loadtests.benchmarks.rates || failed=" rates"; \
	  for scenario in $(BENCH_LOAD); do \
	  $(BIN)/python -m loadtests.load $$scenario --stack || failed="$$failed $$scenario"; done; \
	  [ -z "$$failed" ] || { echo "not within their limits:$$failed"; exit 1; }

docs: .venv/.testing ## write docs/SETTINGS.md, docs/METRICS.md and what Prometheus and Grafana are given
	$(BIN)/atelier settings --markdown > docs/SETTINGS.md
	$(BIN)/atelier metrics --markdown > docs/METRICS.md
	$(BIN)/atelier metrics --prometheus > deployments/prometheus/prometheus.yml
	$(BIN)/atelier dashboards rules > deployments/prometheus/rules.yml
	$(BIN)/atelier dashboards rules --kubernetes > deployments/kubernetes/alerts.yaml
	$(BIN)/atelier dashboards write deployments/grafana

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
	  || { echo "Atelier needs Python 3.11 or 3.12; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.serving: $(BIN)/python pyproject.toml setup.py constraints.txt
	@echo "Installing what serving needs (a few minutes the first time)"
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

.venv/.testing: .venv/.serving
	@echo "Installing what tests, training and load tests need"
	@$(PIP) --constraint constraints.txt --editable '.[build,dev,load]'
	@touch $@

# Numba keeps what it compiled beside the sources, so that no start and no request has to wait for it.
.venv/.compiled: .venv/.serving $(shell find serve/vector/coverage -name "*.py")
	@echo "Compiling the tracer (a minute, once)"
	@$(BIN)/python -c 'from serve.vector.coverage import warm; warm()'
	@touch $@

.venv-litellm/.ready: tests/clients/litellm_requirements.txt tests/clients/litellm_constraints.txt
	$(PYTHON) -m venv .venv-litellm
	@.venv-litellm/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint tests/clients/litellm_constraints.txt --requirement tests/clients/litellm_requirements.txt
	@touch $@

.venv-perf/.ready: tests/clients/perf_analyzer.txt
	@ldconfig -p | grep -q libb64.so.0d || { \
	  echo "Installing libb64 (Debian's package)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y libb64-0d >/dev/null; }
	$(PYTHON) -m venv .venv-perf
	@.venv-perf/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --only-binary :all: \
	  --requirement tests/clients/perf_analyzer.txt
	@touch $@

.venv-clients/.ready: tests/clients/requirements.txt tests/clients/constraints.txt
	$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint tests/clients/constraints.txt --requirement tests/clients/requirements.txt
	@touch $@
