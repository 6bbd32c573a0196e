# The service's image: `docker build --tag qmnist-digits .` .dockerignore lists the files that go into
# it. docs/deploy.md explains how to use it, and how BentoML's own image differs.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM $BASE_IMAGE AS packages
# grpc, tracing or gpu selects another lock file.
ARG VARIANT=
# This is the first layer, so that a new model doesn't install the packages again.
COPY requirements/serve${VARIANT:+-$VARIANT}.txt /build/requirements.txt
# pip's cache, settings and certificates are mounted, so they don't end up in the image. The
# environment has no pip, no tests of its packages, and no C sources. It is compiled here, because the
# service's user can't write the compiled files later.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.pem,target=/etc/pip.pem \
    python3 -m venv --without-pip /app/.venv \
    && python3 -m pip --python /app/.venv/bin/python3 install --quiet --no-compile \
        --require-hashes --only-binary :all: --requirement /build/requirements.txt \
    && find /app/.venv -depth \( -type d -name tests -o -type f -name '*.[ch]' -o -name '*.cpp' \) \
        -exec rm -r {} + \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /app/.venv

FROM packages AS sbom
COPY requirements/sbom.txt /build/sbom.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.pem,target=/etc/pip.pem \
    python3 -m venv --without-pip /build/sbom \
    && python3 -m pip --python /build/sbom/bin/python3 install --quiet \
        --require-hashes --only-binary :all: --requirement /build/sbom.txt \
    && /build/sbom/bin/cyclonedx-py environment --output-reproducible \
        --output-file /build/sbom.cdx.json /app/.venv

FROM $BASE_IMAGE AS source
COPY . /app
# Everyone may read the files and only root may write them, whatever their modes were.
RUN chmod -R u=rwX,go=rX /app \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM $BASE_IMAGE
LABEL org.opencontainers.image.title="qmnist-digits" \
      org.opencontainers.image.description="POST a picture, get the digit back." \
      org.opencontainers.image.licenses="Apache-2.0"
# The service writes only below /tmp: to a folder of its own, and to BENTOML_HOME. The last three
# variables are also in bentofile.yaml.
ENV LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PATH=/app/.venv/bin:$PATH \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    QMNIST_GRPC_HOST=0.0.0.0
# The same user as in the images that BentoML builds.
RUN groupadd --gid 1034 bentoml \
    && useradd --no-log-init --uid 1034 --gid 1034 bentoml
COPY --from=packages /app/.venv /app/.venv
COPY --from=sbom /build/sbom.cdx.json /app/sbom.cdx.json
COPY --from=source /app /app
WORKDIR /app
EXPOSE 3000
# A number, so that Kubernetes can check that it isn't root.
USER 1034:1034
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python3", "-m", "serving.health"]
# The shell reads PORT and then replaces itself with BentoML, which becomes process 1 and gets signals.
ENTRYPOINT ["sh", "-c", "exec bentoml serve . --port \"${PORT:-3000}\" \"$@\"", "sh"]
