"""What is known of how a receiver does: whether it fails for good, and until when it takes nothing."""

from __future__ import annotations

from datetime import datetime

from app.core.db import HotConnection

# Another configuration is another question: what an old one led to does not count.
_FAILING = """
UPDATE receivers SET failed_reason = $2, failed_at = coalesce(failed_at, now()) WHERE name = $1 AND updated_at = $3
"""
_WORKS = (
    "UPDATE receivers SET failed_reason = '', failed_at = NULL WHERE name = $1 AND failed_at IS NOT NULL RETURNING 1"
)
_THROTTLED = """
UPDATE receivers SET throttled_until = CASE WHEN throttled_until > now() THEN least(throttled_until, $2) ELSE $2 END
WHERE name = $1
"""
_AGAIN = """
UPDATE alert_groups SET due_at = now(), next_flush_at = now(), retry_at = NULL
WHERE receiver = $1 AND (refused_digest <> '' OR retry_at IS NOT NULL OR lease IS NOT NULL)
"""


async def failing(connection: HotConnection, receiver: str, reason: str, updated_at: datetime) -> None:
    """It refused for good, or has not answered for long, as it is configured since `updated_at`."""
    await connection.execute(_FAILING, receiver, reason, updated_at)


async def works(connection: HotConnection, receiver: str) -> None:
    """It took something: what it refused before is tried again."""
    if await connection.fetchval(_WORKS, receiver):
        await try_again(connection, receiver)


async def throttled(connection: HotConnection, receiver: str, until: datetime) -> None:
    """It takes nothing before. Of several times the earliest counts: whoever comes then is told the next."""
    await connection.execute(_THROTTLED, receiver, until)


async def try_again(connection: HotConnection, receiver: str) -> None:
    """What it refused, or could not be told, is due now; so is what is under way, once that try is over."""
    await connection.execute(_AGAIN, receiver)
