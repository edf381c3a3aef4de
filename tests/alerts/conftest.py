from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.alerts.room import Room, room_of
from tests.core.database import HandClock, clock, db
from tests.support.service import Backing
from tests.support.slack_server import SlackServer

__all__ = ["clock", "db"]


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    """A running Slack."""
    server = await SlackServer().start()
    yield server
    await server.stop()


@pytest.fixture
async def room(backing: Backing, slack: SlackServer, clock: HandClock) -> AsyncIterator[Room]:
    """Approvals, their messages and the routes of one manager, with a Slack."""
    async with room_of(backing.database_url, slack, clock) as made:
        yield made
