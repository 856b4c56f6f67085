# Two images: `docker build --target cpu -t ngptlab .` and `docker build --target cuda -t ngptlab .`
# Runs and pages are written to /lab: `docker run --rm -v "$PWD":/lab ngptlab compare demo`

FROM python:3.12-slim AS source
WORKDIR /opt/ngptlab
# No versions are pinned, because Debian drops them. git: a run records its commit, where there is one. make: what installs here is what installs elsewhere.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY ngptlab ngptlab

FROM source AS cpu
# Without nvidia-smi, the Makefile installs the pinned build of torch. Where your index has the CUDA build of it, give PyTorch's CPU index:
# docker build --target cpu --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=""
RUN make .venv/bin/.ngptlab
ENV PATH=/opt/ngptlab/.venv/bin:$PATH
WORKDIR /lab
ENTRYPOINT ["ngptlab"]
CMD ["--help"]

FROM source AS cuda
# pip's build of torch brings CUDA's libraries; the driver is the host's: docker run --gpus all ...
RUN make TORCH_PIN= .venv/bin/.ngptlab
ENV PATH=/opt/ngptlab/.venv/bin:$PATH
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /lab
ENTRYPOINT ["ngptlab"]
CMD ["--help"]
