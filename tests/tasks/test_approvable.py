"""Which payloads people could approve exactly."""

from __future__ import annotations

from app.tasks.intake import MAX_HELD_BYTES, approvable


def test_what_is_too_long_is_not_even_read() -> None:
    assert approvable('{"a": 1}')
    assert not approvable(str(2**60))
    assert not approvable("{" * (MAX_HELD_BYTES + 1))
