"""A started `Database` on a test's own database, for every folder that needs one, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from app.core.clock import Clock
from app.core.db import Database
from app.settings import DatabaseSettings
from tests.support.service import Backing


@pytest.fixture
async def db(backing: Backing) -> AsyncIterator[Database]:
    """Both pools open; closed after the test."""
    database = Database(DatabaseSettings(url=backing.database_url, hot_connections=12, cold_connections=4))
    await database.start()
    yield database
    await database.stop()


class HandClock(Clock):
    """Stands still until `forward`; `set_back` moves the wall clock alone."""

    def __init__(self) -> None:
        self.seconds, self.behind = 1000.0, 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - self.behind)

    def monotonic(self) -> float:
        return self.seconds

    def forward(self, seconds: float) -> None:
        self.seconds += seconds

    def set_back(self, seconds: float) -> None:
        self.behind += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
