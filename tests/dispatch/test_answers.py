"""From whatever bytes an agent sends to an ending, never to an exception."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dispatch.executors.answers import MAX_USAGE_ROWS, SseReader, StreamState, of_json, of_status
from app.dispatch.executors.base import Ending, Failed, Refused, Succeeded
from app.tasks.queue import UsageRow


@dataclass
class Heard:
    """A sink that keeps what it is told."""

    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    spent: list[UsageRow] = field(default_factory=list)

    def progress(self, data: dict[str, object]) -> None:
        self.told.append(("progress", data))

    def token(self, data: dict[str, object]) -> None:
        self.told.append(("token", data))

    def step(self, name: str, result: str) -> None:
        self.told.append(("step", {name: result}))

    def usage(self, row: UsageRow) -> None:
        self.spent.append(row)


def read(*chunks: bytes, limit: int = 1000) -> list[tuple[str, bytes]]:
    reader = SseReader(limit)
    return [event for chunk in chunks for event in reader.feed(chunk)]


STREAMS: list[tuple[bytes, list[tuple[str, bytes]]]] = [
    (b"event: a\ndata: 1\n\n", [("a", b"1")]),
    (b"event: a\r\ndata: 1\r\n\r\n", [("a", b"1")]),
    (b"data: 1\n\n", [("message", b"1")]),
    (b"data:1\ndata: 2\ndata:\n\n", [("message", b"1\n2\n")]),
    (b": ping\n\n:\n\ndata: 1\n\n", [("message", b"1")]),
    (b"event: a\n\ndata: 1\n\n", [("message", b"1")]),
    (b"id: 7\nretry: 10\nunknown: x\nevent: a\ndata: 1\n\n", [("a", b"1")]),
    (b"data: 1\n\n\n\ndata: 2\n\n", [("message", b"1"), ("message", b"2")]),
    (b"data: 1\n", []),
    (b"data: 1\n\ndata: 2", [("message", b"1")]),
    (b"event:  a\ndata:  1\n\n", [(" a", b" 1")]),
    (b"data: a:b: c\n\n", [("message", b"a:b: c")]),
    (b"data\n\n", [("message", b"")]),
    ("event: é\ndata: ü€\n\n".encode(), [("é", "ü€".encode())]),
    (b"event: a\r\ndata: 1\ndata: 2\r\n\ndata: 3\n\r\n", [("a", b"1\n2"), ("message", b"3")]),
]


@pytest.mark.parametrize(("raw", "events"), STREAMS)
def test_events_are_the_same_however_the_bytes_are_cut(raw: bytes, events: list[tuple[str, bytes]]) -> None:
    assert read(raw) == events
    assert read(*(raw[n : n + 1] for n in range(len(raw)))) == events
    for cut in range(len(raw) + 1):
        assert read(raw[:cut], raw[cut:]) == events
        assert read(raw[:cut], b"", raw[cut : cut + 2], raw[cut + 2 :]) == events


@pytest.mark.parametrize(
    "chunks",
    [[b"data: " + b"x" * 1001], [b"x"] * 1001, [b"data: " + b"x" * 90 + b"\n"] * 12, [b"data: " + b"x" * 2000 + b"\n"]],
)
def test_an_event_past_the_limit_is_an_overflow_before_it_is_complete(chunks: list[bytes]) -> None:
    with pytest.raises(OverflowError):
        read(*chunks)


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    assert len(read(*[b"data: " + b"x" * 900 + b"\n\n"] * 50)) == 50


def test_empty_data_lines_count_too() -> None:
    with pytest.raises(OverflowError):
        read(*[b"data\n" * 100] * 200)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"result": 1}', 1),
        (b'{"result": null, "usage": null}', None),
        (b'{"result": {"a": [1]}, "extra": 2}', {"a": [1]}),
    ],
)  # fmt: skip
def test_a_result(body: bytes, value: object) -> None:
    ending = of_json(body)
    assert isinstance(ending, Succeeded)
    assert ending.value == value and json.loads(ending.result) == value


def test_usage_is_read_row_by_row() -> None:
    usage = [{"model": "m", "input_tokens": 1, "output_tokens": 2, "cached": 3}, {"model": "n"}]
    ending = of_json(json.dumps({"result": 1, "usage": usage}).encode())
    assert isinstance(ending, Succeeded)
    rows = [(row.model, row.input_tokens, row.output_tokens, row.quantities) for row in ending.usage]
    assert rows == [("m", 1, 2, '{"cached":3}'), ("n", 0, 0, "{}")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b'"result"',
        b"{}",
        b'{"Result": 1}',
        b'{"result": NaN}',
        b'{"result": "\\u0000"}',
        b'{"result": 123456789012345678901234567890}',
        b'{"result": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"result": 1, "usage": {}}',
        b'{"result": 1, "usage": [1]}',
        b'{"result": 1, "usage": [{}]}',
        b'{"result": 1, "usage": [{"model": 1}]}',
        b'{"result": 1, "usage": [{"model": "m", "input_tokens": -1}]}',
        b'{"result": 1, "usage": [{"model": "m", "input_tokens": 1.5}]}',
        b'{"result": 1, "usage": [{"model": "m", "input_tokens": true}]}',
        b'{"result": 1, "usage": [{"model": "m", "input_tokens": 9223372036854775807}]}',
        json.dumps({"result": 1, "usage": [{"model": "m"}] * (MAX_USAGE_ROWS + 1)}).encode(),
    ],
)
def test_a_broken_answer_is_worth_another_try(body: bytes) -> None:
    ending = of_json(body)
    assert isinstance(ending, Failed)
    assert (ending.code, ending.retry) == ("executor_bad_response", True)


@pytest.mark.parametrize(
    ("status", "body", "retry_after", "ending"),
    [
        (429, b"", "7", Refused("the agent answered 429", 7.0)),
        (503, b"", None, Refused("the agent answered 503", None)),
        (503, b'{"error": {"message": "draining"}}', "x", Refused("draining", None)),
        (429, b"", "-5", Refused("the agent answered 429", None)),
        (429, b"", "999999999999999999", Refused("the agent answered 429", 3600.0)),
        (429, b"", "²", Refused("the agent answered 429", None)),
        (429, b"", "Fri, 01 Jan 2027 00:00:00 GMT", Refused("the agent answered 429", None)),
        (400, b"", None, Failed("executor_rejected", "The agent answered 400.", False)),
        (404, b"no such\x00 thing", None, Failed("executor_rejected", "no such  thing", False)),
        (422, b'{"code": "bad_input", "detail": "n < 0"}', None, Failed("bad_input", "n < 0", False)),
        (400, b'{"code": "Not A Code", "message": "m"}', None, Failed("executor_rejected", "m", False)),
        (500, b"", None, Failed("executor_error", "The agent answered 500.", True)),
        (500, b'{"error": {"code": "oom", "message": "big"}}', None, Failed("oom", "big", True)),
        (500, b'{"error": "text"}', None, Failed("executor_error", "The agent answered 500.", True)),
        (599, b"[]", None, Failed("executor_error", "The agent answered 599.", True)),
    ],
)
def test_statuses(status: int, body: bytes, retry_after: str | None, ending: Ending) -> None:
    assert of_status(status, body, retry_after) == ending


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 307, 308, 304, 100, 999])
def test_other_statuses_are_a_fault_of_the_agent(status: int) -> None:
    ending = of_status(status, b"", None)
    assert isinstance(ending, Failed) and ending.retry
    assert ending.code == ("executor_error" if status >= 500 else "executor_bad_response")


def play(*events: tuple[str, Any], max_events: int = 5) -> tuple[Ending | None, Heard]:
    """Feed events to a stream's state until it ends."""
    sink = Heard()
    state = StreamState(sink, 200, max_events)
    for name, data in events:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        ending = state.take(name, raw)
        if ending is not None:
            return ending, sink
    return None, sink


def test_a_stream_reports_adds_up_usage_and_ends_with_its_result() -> None:
    ending, sink = play(
        ("progress", {"percent": 140, "message": "m"}),
        ("token", {"text": "hi"}),
        ("usage", {"model": "a", "input_tokens": 1}),
        ("usage", {"model": "a", "output_tokens": 2}),
        ("result", {"result": [1]}),
        ("result", {"result": "never"}),
    )
    assert isinstance(ending, Succeeded) and ending.value == [1]
    assert [(row.input_tokens, row.output_tokens) for row in ending.usage] == [(1, 0), (0, 2)]
    assert sink.told == [("progress", {"percent": 100.0, "message": "m"}), ("token", {"text": "hi"})]


@pytest.mark.parametrize(
    ("event", "code", "retry"),
    [
        (("error", {"code": "boom", "message": "m"}), "boom", True),
        (("error", {"code": "boom", "message": "m", "retry": True}), "boom", True),
        (("error", {"code": "boom", "message": "m", "retry": False}), "boom", False),
        (("error", {}), "executor_error", True),
        (("result", {}), "executor_bad_response", True),
        (("result", [1]), "executor_bad_response", True),
        (("result", b"{"), "executor_bad_response", True),
        (("usage", {"model": 1}), "executor_bad_response", True),
        (("token", {"text": "x" * 300}), "executor_too_large", False),
        (("suspend", {"reason": "timer"}), "bad_suspend", False),
        (("step", {"name": "a"}), "bad_step", False),
        (("dance", {}), "executor_unknown_event", False),
    ],
)
def test_faults_in_a_stream_keep_what_was_used(event: tuple[str, Any], code: str, retry: bool) -> None:
    ending, _ = play(("usage", {"model": "a", "input_tokens": 1}), event)
    assert isinstance(ending, Failed)
    assert (ending.code, ending.retry, len(ending.usage)) == (code, retry, 1)


def test_an_agent_that_leaves_costs_no_attempt() -> None:
    for code in ("shutdown", "draining"):
        ending, _ = play(("error", {"code": code, "message": "bye", "retry": False}))
        assert ending == Refused("bye")


def test_more_stored_events_than_allowed_end_the_attempt() -> None:
    ending, sink = play(*[("progress", {"percent": n}) for n in range(9)])
    assert isinstance(ending, Failed) and (ending.code, ending.retry) == ("executor_too_large", False)
    assert len(sink.told) == 5


@pytest.mark.parametrize(
    ("percent", "shown"), [(50, 50.0), (-5, 0.0), (1e300, 100.0), (None, None), (True, None), ("50", None), ([], None)]
)
def test_percent_is_bounded_or_unknown(percent: object, shown: float | None) -> None:
    _, sink = play(("progress", {"percent": percent}))
    assert sink.told == [("progress", {"percent": shown, "message": ""})]


names = st.sampled_from(["result", "error", "usage", "token", "progress", "step", "suspend", "x", ""])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["result", "usage", "code", "message", "model", "percent", "text", "error", "input_tokens"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
bodies = st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode())


def storable(ending: Ending) -> None:
    """Its texts can be written to PostgreSQL."""
    texts = [getattr(ending, name, "") for name in ("code", "message", "result")]
    for text in [*texts, *(row.model for row in getattr(ending, "usage", ()))]:
        assert "\x00" not in text
        text.encode()


@given(bodies, st.integers(100, 999), st.none() | st.text(max_size=8))
def test_any_bytes_are_an_ending(body: bytes, status: int, retry_after: str | None) -> None:
    storable(of_json(body))
    storable(of_status(status, body, retry_after))


@given(st.lists(st.tuples(names, bodies), max_size=8))
def test_any_stream_of_events_is_an_ending(events: list[tuple[str, bytes]]) -> None:
    ending, sink = play(*events)
    if ending is not None:
        storable(ending)
    for _, data in sink.told:
        json.dumps(data, ensure_ascii=False).encode()


@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"\n", b"\r\n", b"data: ", b"event:", b"{}"]), max_size=20))
def test_any_chunks_are_events_or_an_overflow_and_cuts_do_not_matter(chunks: list[bytes]) -> None:
    whole = read(b"".join(chunks), limit=10_000)
    assert read(*chunks, limit=10_000) == whole
