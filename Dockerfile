# The service's image: `docker build --tag qmnist-digits .` .dockerignore lists what goes into it, and
# docs/deploy.md says how it differs from the image that `bentoml containerize` builds.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM $BASE_IMAGE AS packages
# grpc, gpu or tracing: another lock is installed.
ARG VARIANT=
# Nothing else comes before this, so a new model does not install the packages again.
COPY requirements/serve${VARIANT:+-$VARIANT}.txt /build/requirements.txt
# What is mounted here is not in the image: pip's cache, its settings, and certificates that it
# needs. The environment has no pip of its own, and neither its packages' tests nor their C sources;
# it is compiled, because who serves may write nothing.
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
# Whatever the files' modes were: all may read, and only root write.
RUN chmod -R u=rwX,go=rX /app \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM $BASE_IMAGE
LABEL org.opencontainers.image.title="qmnist-digits" \
      org.opencontainers.image.description="POST a picture, get the digit back." \
      org.opencontainers.image.licenses="Apache-2.0"
# Nothing is written but below /tmp: the service's own folder, and what BentoML has in BENTOML_HOME.
# The last three are bentofile.yaml's, too.
ENV LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PATH=/app/.venv/bin:$PATH \
    BENTOML_HOME=/tmp/bentoml \
    BENTOML_DO_NOT_TRACK=True \
    ORT_DISABLE_TELEMETRY=1 \
    QMNIST_GRPC_HOST=0.0.0.0
# BentoML's user in the images that it builds.
RUN groupadd --gid 1034 bentoml \
    && useradd --no-log-init --uid 1034 --gid 1034 bentoml
COPY --from=packages /app/.venv /app/.venv
COPY --from=sbom /build/sbom.cdx.json /app/sbom.cdx.json
COPY --from=source /app /app
WORKDIR /app
EXPOSE 3000
# A number, so that Kubernetes can see that it is not root.
USER 1034:1034
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python3", "-m", "serving.health"]
# The shell reads PORT and then becomes BentoML, which so is process 1 and gets the signals.
ENTRYPOINT ["sh", "-c", "exec bentoml serve . --port \"${PORT:-3000}\" \"$@\"", "sh"]
