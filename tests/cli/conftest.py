"""One real service for all tests of the command line, with an agent of the tests' own and the example log analyzer.

Its folder is outside pytest's temp folder: the embedded servers may run as another system user, who has no way
into that one.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cli_service import ROOT, YARD, Service, plain_environment, until
from cli_stub_agent import StubAgent

from tests.support.folders import server_folder


@contextmanager
def _serving(data: Path) -> Iterator[str]:
    """`yard serve --embedded` on a free port, until it answers; ended by SIGTERM."""
    with (data.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*YARD, "serve", "--embedded", "--data", str(data), "--port", "0"],
            cwd=ROOT,
            env=plain_environment(),
            stdout=log,
            stderr=log,
        )
        try:
            yield until(lambda: _ready(process, data))
        finally:
            process.terminate()
            process.wait(60)


def _ready(process: subprocess.Popen[bytes], data: Path) -> str:
    assert process.poll() is None, (data.parent / "serve.log").read_text()
    url = (data / "url").read_text().strip() if (data / "url").exists() else ""
    try:
        return url if url and httpx.get(url + "/readyz", trust_env=False).is_success else ""
    except httpx.TransportError:
        return ""


@contextmanager
def _stub() -> Iterator[StubAgent]:
    with StubAgent() as stub:
        thread = threading.Thread(target=stub.serve_forever, daemon=True)
        thread.start()
        yield stub
        stub.gate.set()
        stub.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with server_folder("yard-cli-") as root:
        root.chmod(0o755)
        with _serving(root / "data") as url, _stub() as stub:
            key = (root / "data" / "admin.key").read_text().strip()
            yield Service(root / "data", url, key, stub, _registered(url, key, stub))


def _registered(url: str, key: str, stub: StubAgent) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        pool = {"description": "does as it is told", "slots": 50, "max_attempts": 1}
        http.put("/v1/pools/stub", json=pool).raise_for_status()
        registered = http.post("/v1/agents", json={"pool": "stub", "url": stub.url}).raise_for_status().json()
        http.post(f"/v1/agents/{registered['id']}/heartbeat", json={"running": 0}).raise_for_status()
    return str(registered["id"])


@pytest.fixture(scope="session")
def log_analyzer(service: Service) -> str:
    """The example pool with one agent, defined through `yard pool put`."""
    sys.path.insert(0, str(ROOT))
    try:
        from examples.pools import EXAMPLE_POOLS
    finally:
        sys.path.remove(str(ROOT))
    body = EXAMPLE_POOLS["log_analyzer"] | {"scale": {"min": 1, "max": 2}}
    service.json("pool", "put", "log_analyzer", json.dumps(body))
    until(lambda: service.json("agents", "--pool", "log_analyzer", "--status", "idle")["items"])
    return "log_analyzer"
