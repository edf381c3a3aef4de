"""Real servers in directories of their own, outside pytest's temp folder: pytest takes away the rights by
which the servers' account passes through it, whenever another run begins."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from embedded_probes import Holder, servers_below

from app.embedded import EmbeddedServers
from tests.support.folders import server_folder

HOLDER = Path(__file__).with_name("holder.py")


@contextmanager
def _short_directory() -> Iterator[Path]:
    """A short empty directory; whatever a failed test leaves running in it is ended."""
    with server_folder("yard-test-") as path:
        yield path
        for process in servers_below(path):
            process.kill()


@pytest.fixture
def root() -> Iterator[Path]:
    with _short_directory() as path:
        yield path


@pytest.fixture(scope="module")
def shared() -> Iterator[EmbeddedServers]:
    """Servers for tests that only look."""
    with _short_directory() as path, EmbeddedServers(path / "data") as running:
        yield running


@pytest.fixture
def servers(root: Path) -> Iterator[EmbeddedServers]:
    """Started servers in `root`/data."""
    with EmbeddedServers(root / "data") as running:
        yield running


@pytest.fixture
def hold(root: Path) -> Iterator[Callable[..., Holder]]:
    """Start a holder process: `hold(data_dir, uid=None)` returns when its servers answer."""
    processes: list[subprocess.Popen[str]] = []

    def start(data_dir: Path, uid: int | None = None) -> Holder:
        command = [sys.executable, str(HOLDER), str(data_dir), *([str(uid)] if uid is not None else [])]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        return Holder(process, **json.loads(process.stdout.readline()))

    yield start
    for process in processes:
        process.kill()
        process.communicate()
