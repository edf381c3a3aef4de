"""Agents as processes, and a look into the database, for every story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_process import Agents, agent_processes
from tests.support.ledger import Ledger
from tests.support.service import Backing


@pytest.fixture
def working(tmp_path: Path) -> Iterator[Agents]:
    """Agents of the SDK in processes of their own; they end with the test."""
    with agent_processes(tmp_path) as agents:
        yield agents


@pytest.fixture
def ledger(backing: Backing) -> Ledger:
    """What this test's database says."""
    return Ledger(backing.database_url)
