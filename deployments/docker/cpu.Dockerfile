# Atelier on CPUs. From the project's folder:
#   docker build --file deployments/docker/cpu.Dockerfile --tag atelier:0.1.0 .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
ARG EXTRAS=moderation
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/atelier
RUN python -m venv /opt/venv
# What changes seldom comes first: these layers are kept while the code changes.
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE ./
RUN /opt/venv/bin/python -m pip install --constraint constraints.txt --editable ".[${EXTRAS}]"
COPY serve/ serve/
RUN /opt/venv/bin/python -m pip install --no-deps --editable .

# What trains the engines every week: docker build ... --target train --tag atelier-train:0.1.0 .
FROM build AS train
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 npm tini \
    && rm -rf /var/lib/apt/lists/*
RUN /opt/venv/bin/python -m pip install --constraint constraints.txt --editable ".[build]"
COPY build_engines/ build_engines/
COPY deployments/ deployments/
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp NUMBA_CACHE_DIR=/opt/atelier/var/numba PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["tini", "--", "/opt/atelier/deployments/train-engines"]

FROM python:${PYTHON}
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Atelier" \
      org.opencontainers.image.description="Self-hosted serving stack for generative art, on CPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/atelier atelier \
    && install --directory --owner atelier --group atelier --mode 0750 /var/lib/atelier /var/lib/models /var/backups/atelier /run/ray
WORKDIR /opt/atelier
COPY --from=build /opt/venv /opt/venv
COPY pyproject.toml LICENSE NOTICE ./
COPY serve/ serve/
COPY deployments/ deployments/
COPY model_repository/ model_repository/
# The web application, where `make studio` has built it.
COPY studio/ studio/
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "serve"]
# The tracer is compiled at the first start, for the processor that runs it, and kept with the state.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/atelier \
    NUMBA_CACHE_DIR=/var/lib/atelier/numba \
    ATELIER_STATE_DIR=/var/lib/atelier \
    ATELIER_HTTP__HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000 9000
HEALTHCHECK --interval=15s --timeout=10s --start-period=300s --retries=3 \
    CMD ["python", "/opt/atelier/deployments/docker/healthcheck.py"]
ENTRYPOINT ["tini", "--", "atelier"]
CMD ["up"]
