# The example agents: `docker build -f deploy/agents.Dockerfile -t yardmaster-agents .` in the repository's top folder,
# then `docker run … yardmaster-agents log_analyzer`. A model for images of one's own: the SDK, and one folder of code.
FROM python:3.12.12-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The tools that make wheels stay in this stage: the full image has a compiler for what comes as source.
COPY requirements.lock pyproject.toml ./
COPY sdk/pyproject.toml sdk/
COPY deploy/docker/lock_subset.py deploy/docker/
RUN python deploy/docker/lock_subset.py requirements.lock hatchling setuptools > build.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --only-binary :all: --require-hashes --no-deps -r build.txt

# The SDK's own needs, those of the examples, and what sends their traces.
RUN python deploy/docker/lock_subset.py requirements.lock sdk/pyproject.toml pyproject.toml:examples \
        opentelemetry-sdk opentelemetry-exporter-otlp-proto-http > runtime.txt \
    && /opt/build/bin/pip wheel --no-build-isolation --require-hashes --no-deps -w wheels -r runtime.txt \
    && python -m venv --without-pip /opt/agents \
    && pip --python /opt/agents/bin/python install --no-index --no-deps wheels/*.whl

COPY sdk sdk/
WORKDIR /src/sdk
RUN /opt/build/bin/hatchling build -t wheel -d dist \
    && pip --python /opt/agents/bin/python install --no-index --no-deps dist/*.whl \
    && pip --python /opt/agents/bin/python check


FROM python:3.12.12-slim-bookworm

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Yardmaster example agents" \
      org.opencontainers.image.description="Agents that do real work without a model: logs, security, performance, incidents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

RUN groupadd --gid 10001 yard \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin yard \
    && install --directory --owner 10001 --group 10001 --mode 0700 /run/yardmaster
COPY --from=build /opt/agents /opt/agents
COPY --chmod=0555 deploy/docker/agent /usr/local/bin/agent
COPY deploy/docker/define_pools.py /srv/define_pools.py
COPY examples /srv/examples/

ENV PATH=/opt/agents/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AGENT_HOST=0.0.0.0 \
    AGENT_PORT=8000
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-I", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1', int(os.environ['AGENT_PORT']), timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]

ENTRYPOINT ["agent"]
CMD ["log_analyzer"]
