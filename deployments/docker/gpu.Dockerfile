# Atelier on NVIDIA's Triton, with its C++ backends (onnxruntime, openvino, tensorrt). From the project's folder:
#   docker build --file deployments/docker/gpu.Dockerfile --tag atelier-gpu:0.1.0 .
# Plans of TensorRT belong to the TensorRT of this release, and to the GPU that they were built on. What builds them there:
#   docker build --file deployments/docker/gpu.Dockerfile --target plans --tag atelier-plans:0.1.0 .
# 24.10 has the Triton 2.51 that is embedded elsewhere; its Python is not ours, which uv brings.
ARG TRITON=24.10
ARG UV=0.13.9

FROM ghcr.io/astral-sh/uv:${UV} AS uv

FROM nvcr.io/nvidia/tritonserver:${TRITON}-py3 AS build
ARG PYTHON=3.11.18
ARG EXTRAS=moderation
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_LINK_MODE=copy UV_NO_CACHE=1
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /opt/atelier
RUN uv venv --managed-python --python "${PYTHON}" /opt/venv
COPY pyproject.toml setup.py constraints.txt README.md LICENSE NOTICE ./
RUN uv pip install --compile-bytecode --python /opt/venv/bin/python --constraint constraints.txt --editable ".[${EXTRAS}]"
COPY serve/ serve/
RUN uv pip install --python /opt/venv/bin/python --no-deps --editable .

FROM build AS plans
COPY build_engines/ build_engines/
# Of TensorRT the bindings alone, in the version of the library that this image has and serves with.
RUN library="$(readlink --canonicalize-existing /usr/lib/x86_64-linux-gnu/libnvinfer.so.10)" \
    && uv pip install --python /opt/venv/bin/python --constraint constraints.txt --editable ".[build]" \
    "tensorrt-cu12-bindings==${library##*.so.}"
ENV HOME=/tmp USER=atelier
USER 10001:10001
ENTRYPOINT ["/opt/venv/bin/python", "-m", "build_engines"]

FROM nvcr.io/nvidia/tritonserver:${TRITON}-py3
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="Atelier" \
      org.opencontainers.image.description="Self-hosted serving stack for generative art, on NVIDIA Triton and GPUs" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/atelier atelier \
    && install --directory --owner atelier --group atelier --mode 0750 /var/lib/atelier /var/lib/models /var/backups/atelier /run/ray
WORKDIR /opt/atelier
COPY --from=build /opt/python /opt/python
COPY --from=build /opt/venv /opt/venv
COPY pyproject.toml LICENSE NOTICE ./
COPY serve/ serve/
COPY deployments/ deployments/
COPY model_repository/ model_repository/
# The web application, where `make studio` has built it.
COPY studio/ studio/
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "serve"]
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/atelier \
    NUMBA_CACHE_DIR=/var/lib/atelier/numba \
    ATELIER_STATE_DIR=/var/lib/atelier \
    ATELIER_HTTP__HOST=0.0.0.0 \
    ATELIER_CONFIG=/opt/atelier/deployments/gpu.yaml
USER 10001:10001
EXPOSE 8000 9000
HEALTHCHECK --interval=15s --timeout=10s --start-period=900s --retries=3 \
    CMD ["python", "/opt/atelier/deployments/docker/healthcheck.py"]
ENTRYPOINT ["tini", "--", "atelier"]
CMD ["up"]
