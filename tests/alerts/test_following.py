"""What comes next after a notification, in a sentence."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.alerts.notification_queries import NotificationRecord, following
from tests.alerts.groups import NOW, seconds

ID = UUID(int=1)
STANDING: dict[str, Any] = {
    "now": NOW,
    "receiver": True,
    "enabled": True,
    "throttled_until": None,
    "failed_at": None,
    "repeat_interval_s": 3600.0,
    "open": True,
    "last_notification": ID,
    "notice_id": None,
    "next_flush_at": NOW + seconds(60),
    "retry_at": None,
    "acked_by": "",
    "acked_until": None,
    "sent_at": NOW,
    "firing": 1,
}


def record(outcome: str = "delivered", reason: str = "first") -> NotificationRecord:
    return NotificationRecord(ID, "on-call:0", "on-call", reason, True, [], outcome, "", 1, NOW, NOW, 1)


@pytest.mark.parametrize(
    ("found", "changed", "words"),
    [
        (record(), {}, "looked at again at 2026-01-01 12:01:00 UTC. Without news it is repeated 3600 s after"),
        (record(), {"receiver": False}, "the receiver was deleted"),
        (record(), {"enabled": False}, "disabled"),
        (record(), {"open": False}, "no alert of this group is left"),
        (record(), {"last_notification": UUID(int=2)}, f"followed by the notification {UUID(int=2)}"),
        (record(), {"acked_by": "ann", "acked_until": NOW + seconds(60)}, "ann has taken it until"),
        (record(), {"firing": 0}, "looked at again"),
        (record("held"), {"throttled_until": NOW + seconds(30)}, "takes nothing before 2026-01-01 12:00:30"),
        (record("retrying"), {"retry_at": NOW + seconds(8)}, "tried again at 2026-01-01 12:00:08 UTC"),
        (record("throttled"), {"retry_at": NOW}, "tried again now"),
        (record("permanent"), {"failed_at": NOW}, "until the receiver works or is changed"),
        (record(reason="heartbeat"), {"open": False}, "next heartbeat"),
    ],
)
def test_it_says_what_comes_next(found: NotificationRecord, changed: dict[str, Any], words: str) -> None:
    assert words in following(found, {**STANDING, **changed})
