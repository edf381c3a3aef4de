"""The parts that need no server: frames, keeping, settings, and their edges."""

import asyncio
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yardmaster import Agent, Event, Limits
from yardmaster.call import Call
from yardmaster.keeping import Fences, KeptResults
from yardmaster.outcome import Kept, succeeded
from yardmaster.serving import watch_supervisor
from yardmaster.settings import Settings
from yardmaster.sse import Decoder, frame
from yardmaster.storable import encode


@given(st.lists(st.tuples(st.sampled_from(["progress", "token"]), st.text())))
def test_what_is_framed_is_decoded(sent: list[tuple[str, str]]) -> None:
    wire = b"".join(frame(kind, encode({"text": text})) for kind, text in sent).decode()
    decoder = Decoder()
    got = [event for line in wire.split("\n") if (event := decoder.feed(line))]
    assert got == [Event(kind, {"text": text}) for kind, text in sent]


def test_decoder_follows_the_standard() -> None:
    decoder = Decoder("3")
    lines = [": ping", "id: 4", "retry: 250", "data: a", "data:b", "", "event: x", "", "data: {}", "", "id: 9"]
    assert [event for line in lines if (event := decoder.feed(line))] == [
        Event("message", "a\nb", "4"),
        Event("message", {}, "4"),
    ]
    assert decoder.retry_s == 0.25


def _call(task_id: str, attempt: int = 1, fence: int = 1) -> Call:
    return Call(task_id, attempt, fence, "t", None)


def test_kept_results_are_bounded_by_number_bytes_and_age() -> None:
    kept = KeptResults(Limits(kept_results=2, kept_bytes=50, kept_result_s=10))
    small, big = succeeded(1), succeeded("x" * 100)
    for number in range(3):
        kept.keep(f"t{number}", Kept(1, small, b"[]", at=float(number)))
    assert [kept.find(_call(f"t{number}"), 3.0) is not None for number in range(3)] == [False, True, True]
    assert kept.find(_call("t2", attempt=2), 3.0) is None
    assert kept.find(_call("t1"), 11.5) is None
    assert kept.find(_call("t2"), 11.5) is not None
    kept.keep("t9", Kept(1, big, b"[]", at=12.0))
    assert kept.find(_call("t9"), 12.0) is None


def test_kept_results_are_of_one_attempt_of_one_replay() -> None:
    kept = KeptResults(Limits())
    kept.keep("t", Kept(1, succeeded(1), b"[]", at=0.0, finished={"one": b"1"}, replay=1))
    for replay, attempt in ((0, 1), (1, 2), (2, 1)):
        call = Call("t", attempt, 1, "t", None, replay=replay)
        assert (kept.find(call, 1.0), kept.steps(call, 1.0)) == (None, {})
    same = Call("t", 1, 1, "t", None, replay=1)
    assert kept.find(same, 1.0) is not None
    assert kept.steps(same, 1.0) == {"one": b"1"}


def test_fences_only_rise_and_are_bounded() -> None:
    fences = Fences(2)
    assert [fences.pass_or_newer(_call("a", fence=n)) for n in (2, 2, 1, 3)] == [None, None, 2, None]
    for name in "bcd":
        fences.pass_or_newer(_call(name))
    assert fences.pass_or_newer(_call("a", fence=1)) is None


def test_settings_from_the_environment() -> None:
    env = {"AGENT_SLOTS": "8", "MANAGER_URL": "http://m/", "AGENT_LABELS": '{"zone":"a"}', "AGENT_WEIGHT": "2.5"}
    settings = Settings.from_env(env, pool="echo", slots=1)
    assert (settings.pool, settings.slots, settings.manager_url) == ("echo", 8, "http://m")
    assert (settings.labels, settings.weight, settings.host, settings.port) == (
        {"zone": "a"},
        2.5,
        "127.0.0.1",
        0,
    )


@pytest.mark.parametrize(
    "env", [{"AGENT_SLOTS": "0"}, {"AGENT_PORT": "x"}, {"AGENT_LABELS": "[]"}, {"AGENT_DRAIN_GRACE_S": "nan"}]
)
def test_bad_settings_name_the_variable(env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(env))):
        Settings.from_env(env, pool="echo", slots=1)


async def test_a_lost_supervisor_stops_the_agent() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    stop = asyncio.Event()
    settings = Settings("echo", 1, supervisor_pid=child.pid, supervisor_gone_s=0.05)
    await asyncio.wait_for(watch_supervisor(settings, stop), 5)
    assert stop.is_set()


async def test_a_living_supervisor_does_not() -> None:
    stop = asyncio.Event()
    settings = Settings("echo", 1, supervisor_pid=os.getpid(), supervisor_gone_s=0.02)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watch_supervisor(settings, stop), 0.2)
    assert not stop.is_set()


def test_an_agent_needs_exactly_one_task() -> None:
    agent = Agent("echo")
    with pytest.raises(RuntimeError, match="no task"):
        agent.app()
    agent.task(lambda ctx, payload: None)
    with pytest.raises(RuntimeError, match="already"):
        agent.task(lambda ctx, payload: None)


def test_an_event_that_was_cut_off_does_not_count_as_heard() -> None:
    decoder = Decoder()
    assert [event.id for event in decoder.pieces(b"id: 1\ndata: {}\n\nid: 2\nda")] == ["1"]
    assert decoder.last_id == "1"
    decoder.restart()
    assert [event.id for event in decoder.pieces(b"id: 2\ndata: {}\n\n")] == ["2"]


def test_a_line_ends_only_where_the_bytes_say_so() -> None:
    text = 'data: "a\u2028b\u0085c"\r\n\r\n'.encode()
    decoder = Decoder()
    found = [event.data for at in range(len(text)) for event in decoder.pieces(text[at : at + 1])]
    assert found == ["a\u2028b\u0085c"]
