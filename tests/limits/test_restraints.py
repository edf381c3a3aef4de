"""What restraints come to together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.limits.restraints import LOWEST, Hold, Restraint, hold_of

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def restraint(
    number: int = 1,
    pool: str | None = None,
    least: int | None = None,
    running: int | None = None,
    share: float | None = None,
    *,
    asks: bool = False,
) -> Restraint:
    return Restraint(
        UUID(int=number),
        "emergency",
        pool,
        least,
        running,
        share,
        asks,
        "",
        "person",
        "k",
        NOW,
        NOW + timedelta(hours=1),
    )


many = st.lists(
    st.builds(
        restraint,
        st.integers(0, 99),
        st.sampled_from([None, "a", "b"]),
        st.none() | st.integers(-1000, 1001),
        st.none() | st.integers(0, 50),
        st.none() | st.floats(0.01, 1),
        asks=st.booleans(),
    ),
    max_size=6,
)


@given(many, st.integers(-1000, 1000), st.integers(0, 100))
def test_together_they_are_as_strict_as_the_strictest_of_each(
    found: list[Restraint], priority: int, slots: int
) -> None:
    fitting = [item for item in found if item.pool in (None, "a")]
    hold = hold_of(found, "a")
    if not fitting:
        assert hold is None
        return
    assert hold is not None
    assert hold.restraints == tuple(fitting)
    shed = [item for item in fitting if item.min_priority is not None and priority < item.min_priority]
    by = hold.sheds(priority)
    assert (by is not None) == bool(shed)
    assert by is None or by in shed
    singles = [single for item in fitting if (single := hold_of([item], "a")) is not None]
    assert hold.cap(slots) == min(single.cap(slots) for single in singles)
    assert hold.require_approval == any(item.require_approval for item in fitting)


def test_a_share_leaves_a_slot_and_an_absolute_cap_of_none_is_a_pause() -> None:
    half = hold_of([restraint(share=0.5)], "a")
    assert half is not None
    assert [half.cap(slots) for slots in (0, 1, 2, 3, 8)] == [0, 1, 1, 1, 4]
    assert not half.paused
    none = hold_of([restraint(running=0), restraint(share=1.0)], "a")
    assert none is not None
    assert none.paused and none.cap(8) == 0
    assert Hold(()).cap(8) == 8 and Hold(()).sheds(LOWEST) is None
