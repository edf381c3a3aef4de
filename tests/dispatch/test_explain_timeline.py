"""The sentences of a timeline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.timeline import EventFacts, timeline
from app.events.catalog import TYPES

START = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)


def event(kind: str, seq: int = 1, **data: Any) -> EventFacts:
    return EventFacts(seq, kind, START + timedelta(seconds=seq), data)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event("task.queued", pool="p", priority=3), "accepted for pool p with priority 3"),
        (event("task.queued", pool="p", priority=0, parent_id="x"), "accepted for pool p with priority 0, called by x"),
        (event("task.running", attempt=2, fence=3, agent_id="a"), "try 2 began on agent a"),
        (event("task.progress", percent=40, message="half"), "progress: 40 % half"),
        (event("task.progress", percent=None, message="half"), "progress: half"),
        (event("task.step", name="fetch", fence=1), "step fetch finished"),
        (event("task.waiting", step="ask", reason="approval"), "step ask waits for an approval"),
        (event("task.resumed", step="ask", reason="approval"), "step ask has its answer; queued again"),
        (event("approval.requested", step="ask", action="run_shell"), "people are asked to approve run_shell"),
        (event("approval.voted", caller="k", votes=1, quorum=2), "k approved, 1 of 2 have"),
        (
            event("approval.decided", step="ask", status="rejected", decided_by="k", reason="too risky"),
            "the approval of step ask is rejected by k: too risky",
        ),
        (event("approval.superseded", step="ask", reason="cancelled"), "the question is withdrawn: cancelled"),
        (
            event("task.retrying", attempt=1, code="boom", message="it broke", delay_s=1.25),
            "try 1 failed: boom – it broke; tried again after 1.25 s",
        ),
        (event("task.returned", code="agent_busy", message="full", delay_s=None), ": agent_busy – full"),
        (
            event("task.stopped", code="stopped", message="Stopped by k: bad", agent_id="a"),
            "taken from agent a, the try not counted: Stopped by k: bad",
        ),
        (event("task.cancelled", reason="", was="queued"), "cancelled"),
        (event("task.cancelled", reason="not needed", was="queued"), "cancelled: not needed"),
        (event("task.failed", attempt=3, code="boom", message=None), "failed: boom"),
        (event("task.unheard_of", a=1), "task.unheard_of"),
        (event("task.running"), "try  began on agent "),
    ],
)
def test_sentences(told: EventFacts, text: str) -> None:
    (moment,) = timeline([told])
    assert moment.text.endswith(text)
    assert (moment.seq, moment.at, moment.count) == (1, told.at, 1)


def test_many_reports_in_a_row_are_one_moment() -> None:
    events = [
        event("task.running", 1),
        *(event("task.progress", 2 + index, percent=index * 10, message="m") for index in range(5)),
        event("task.step", 7, name="a"),
        event("task.step", 8, name="b"),
        event("task.succeeded", 9),
    ]
    moments = timeline(events)
    assert [(item.seq, item.count) for item in moments] == [(1, 1), (2, 5), (7, 2), (9, 1)]
    assert moments[1].text == "progress: 40 % m (5 in a row, this is the last)"
    assert moments[1].at == events[5].at


@given(
    st.lists(
        st.builds(
            lambda kind, data: (kind, data),
            st.sampled_from([*TYPES, "strange"]),
            st.dictionaries(
                st.sampled_from(["code", "message", "reason", "attempt", "delay_s", "percent", "step", "name"]),
                st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2),
            ),
        ),
        max_size=20,
    )
)
def test_whatever_an_event_holds_it_is_told(events: list[tuple[str, dict[str, Any]]]) -> None:
    told = [event(kind, index + 1, **data) for index, (kind, data) in enumerate(events)]
    moments = timeline(told)
    assert sum(moment.count for moment in moments) == len(told)
    assert all(moment.text for moment in moments)
