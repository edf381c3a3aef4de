"""The pure parts: times, payloads, cells, tables and results."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

from app.cli import cells, durations, payload, waiting
from app.cli.failures import Failure, Misuse
from app.cli.listing import Column, listing
from app.cli.render import MAX_ROWS, result
from app.cli.session import Session, is_loopback
from app.cli.sse import Decoder, Event
from app.cli.watching import Picture, Printer

NOW = datetime(2026, 11, 20, 20, 25, tzinfo=UTC)
ID = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"


def drawn(part: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    with console.capture() as captured:
        console.print(part)
    return captured.get()


@pytest.mark.parametrize(
    ("text", "seconds"), [("45", 45), ("45s", 45), ("1.5m", 90), ("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-5", "d", "5 years", "1e3", "99999999999d", "٣x", "nan"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        durations.seconds(text)


@pytest.mark.parametrize(
    ("away_s", "text"),
    [(0.3, "now"), (12, "12 s ago"), (95, "95 s ago"), (300, "5 min ago"), (3 * 86_400, "3 d ago"), (-7200, "in 2 h")],
)
def test_relative_times(away_s: float, text: str) -> None:
    assert durations.relative((NOW - timedelta(seconds=away_s)).isoformat(), NOW) == text


def test_moments() -> None:
    assert durations.moment("+10m", NOW) == NOW + timedelta(minutes=10)
    assert durations.moment("2026-11-20T20:25:00Z", NOW) == NOW
    assert durations.moment("2026-11-20T20:25:00", NOW).tzinfo is not None
    for wrong in ("tomorrow", "+", "+x", "2026-13-01"):
        with pytest.raises(ValueError, match="not a"):
            durations.moment(wrong, NOW)


TEXT, LIST = {"type": "string"}, {"type": "array"}


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({"required": ["n", "source"], "properties": {"a": TEXT, "n": {"type": "integer"}, "source": TEXT}}, "source"),
        (
            {"properties": {"a": TEXT, "l": LIST, "log": TEXT}, "anyOf": [{"required": ["l"]}, {"required": ["log"]}]},
            "log",
        ),
        ({"properties": {"n": {"type": "integer"}, "body": {"type": ["string", "null"]}}}, "body"),
        ({"properties": {"a": TEXT, "b": TEXT}, "required": ["b"]}, "b"),
    ],
)
def test_the_field_for_a_text(schema: dict[str, Any], field: str) -> None:
    assert payload.text_field("p", schema) == field


@pytest.mark.parametrize("schema", [None, {}, {"type": "string"}, {"properties": {"a": True, "n": LIST}}])
def test_no_field_for_a_text(schema: dict[str, Any] | None) -> None:
    with pytest.raises(Misuse, match="--field NAME"):
        payload.text_field("p", schema)


def test_files_and_arguments(tmp_path: Path) -> None:
    file = tmp_path / "in"
    cases = [(b'{"a": 1}', (True, {"a": 1})), (b"[1]", (False, None)), (b"\xef\xbb\xbf{}", (True, {}))]
    for content, expected in cases:
        file.write_bytes(content)
        assert payload.json_payload(payload.read(f"@{file}", 100)) == expected
    assert payload.json_payload(payload.read("[1]", 100)) == (True, [1])
    file.write_bytes(b"caf\xe9")
    assert payload.read(f"@{file}", 100).text == "caf\ufffd"
    for wrong in ("hello", "NaN", "[" * 100_000):
        with pytest.raises(Misuse, match="not JSON"):
            payload.json_payload(payload.read(wrong, 100))
    for wrong, why in ((f"@{tmp_path}", "directory"), ("@", "without a name|directory"), ("@/no/such", "No such file")):
        with pytest.raises(Misuse, match=why):
            payload.read(wrong, 100)
    file.write_bytes(b"\x7fELF\0")
    with pytest.raises(Misuse, match="null bytes"):
        payload.read(f"@{file}", 100)
    file.write_bytes(b"x" * 101)
    with pytest.raises(Misuse, match="larger than the 100 B"):
        payload.read(f"@{file}", 100)


def test_text_cannot_drive_the_terminal() -> None:
    evil = "a\x1b[2J\x9b1m\x07\rb\u202ec"
    assert cells.clean(evil) == "a\\x1b[2J\\x9b1m\\x07\\x0db\\u202ec"
    for shown in (drawn(result({"k\x1b": evil, "l": [evil], "t": [{"x": evil}]}, 80)), Failure(evil).text()):
        assert "\x1b" not in shown
        assert "\x9b" not in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(4891, "4891"), (12_345, "12,345"), (0.2791, "0.2791"), (4.4e-07, "4.4e-07"), (True, "true"), (None, "–")],
)
def test_cells(value: Any, text: str) -> None:
    assert cells.plain(value) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.integers(20, 120))
def test_any_result_is_drawn_within_the_width(value: Any, width: int) -> None:
    assert max(cell_len(line) for line in drawn(result(value, width), width).split("\n")) <= width


def test_a_result_reads_well() -> None:
    rows = [{"template": f"status installed <{n}>", "count": n, "example": "x" * 90} for n in range(30)]
    shown = drawn(result({"lines": 5880, "templates": rows, "levels": {"none": 4, "error": 12}, "rare": []}, 80), 80)
    lines = [line.rstrip() for line in shown.split("\n")]
    assert lines[:4] == ["lines  5880", "rare   none", "", "templates (30)"]
    assert lines[4].split() == ["template", "count", "example"]
    assert lines[6].startswith("  status installed <0>       0  xxxx")
    assert lines[6].endswith("…")
    assert f"  … {30 - MAX_ROWS} more (use --json)" in lines
    assert lines[-4:-1] == ["levels", "  none    4", "  error  12"]


def test_few_rows_are_shown_in_full() -> None:
    text = "Use of assert detected. The enclosed code will be removed when compiling to optimised byte code."
    shown = drawn(result({"issues": [{"rule": "B101", "text": text}]}, 50), 50)
    assert "…" not in shown
    assert shown.split()[-1] == "code."


def test_rows_too_wide_for_a_table_become_blocks() -> None:
    shown = drawn(result([{f"column_{n}": "some text here" for n in range(8)}], 60), 60)
    assert "column_7  some text here" in shown


def test_ids_stay_whole() -> None:
    columns = [Column("id", whole=True), Column("pool"), Column("url", spare=True)]
    for width in (120, 60, 52, 45):
        assert ID in drawn(listing(columns, [[ID, "performance_tester", "http://127.0.0.1:9001"]], width), width)
    narrow = drawn(listing(columns, [[ID, "performance_tester", "http://127.0.0.1:9001"]], 52), 52)
    assert "url" not in narrow


@given(st.lists(st.integers(1, 7)), st.sampled_from(["\n", "\r\n"]))
def test_streams_may_be_cut_anywhere(cuts: list[int], end: str) -> None:
    text = ': ping\n\nid: 7\nevent: token\ndata: {"text":"a\u2028b"}\n\ndata: x\ndata: y\n\nevent: empty\n\n'
    stream, decoder, events = text.replace("\n", end).encode(), Decoder(), list[Event]()
    for cut in cuts:
        events += decoder.feed(stream[:cut])
        stream = stream[cut:]
    events += decoder.feed(stream)
    assert events == [Event("token", {"text": "a\u2028b"}), Event("message", "x\ny")]
    assert decoder.last_id == "7"


QUEUED = {"status": "queued", "pool": "p", "attempt": 0, "started_at": None, "notice": {"message": "no agent"}}


def test_a_task_as_lines_and_as_a_picture() -> None:
    heard = [
        ("snapshot", QUEUED),
        ("task.running", {"at": "2026-11-20T20:25:00Z", "data": {"attempt": 1, "agent_id": "a1"}}),
        ("task.progress", {"data": {"percent": 50, "message": "half"}}),
        ("token", {"text": "one "}),
        ("token", {"text": "two"}),
        ("lost", "cannot reach"),
        ("task.retrying", {"data": {"attempt": 1, "code": "timeout", "message": "too slow", "delay_s": 2.0}}),
        ("task.later", {"data": {}}),
        ("task.step", {"data": {"name": "mine", "fence": 1, "note": 2, "tokens": 2}}),
        ("gap", {"reason": "tokens_gone", "missing": 7}),
        ("task.waiting", {"data": {"step": "ask", "reason": "approval"}}),
        ("approval.requested", {"seq": 9, "data": {"action": "shell", "approval_id": "x"}}),
    ]
    out, picture = io.StringIO(), Picture(ID)
    printer = Printer(out)
    for kind, data in heard:
        printer.heard(kind, data)
        picture.feed(kind, data)
        drawn(picture.picture())
    assert [line[10:] for line in out.getvalue().splitlines()] == [
        "queued     no agent",
        "running    attempt 1 on agent a1",
        "progress   50 % half",
        "text       one two",
        "connection lost cannot reach",
        "retrying   too slow (timeout), again in 2 s",
        "later",
        "step       mine",
        "gap        7 pieces of text are missing",
        "waiting    for an approval, at step ask",
        "approval.requested asks to shell (x)",
    ]
    assert list(picture.messages) == [
        "retrying: too slow (timeout), again in 2 s",
        "step: mine",
        "7 pieces of text are missing",
        "waiting: for an approval, at step ask",
        "approval.requested: asks to shell (x)",
    ]
    assert picture.status == "waiting"


def test_exit_codes() -> None:
    assert waiting.exit_code({"status": "succeeded"}) == 0
    for word in ("failed", "cancelled", "expired", "running"):
        assert waiting.exit_code({"status": word}) == 1


def test_the_admin_key_stays_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "admin.key").write_text("yk_local_secret\n")
    (tmp_path / "url").write_text("http://10.0.0.7:8080\n")
    for url in (None, "http://10.0.0.7:8080/", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        session = Session(url, None, tmp_path)
        assert session.api.headers["Authorization"] == "Bearer yk_local_secret"
        session.close()
    with pytest.raises(Failure, match="no key") as caught:
        _ = Session("https://elsewhere.example", None, tmp_path).api
    assert caught.value.exit_code == 3
    assert not is_loopback("http://127.0.0.1.example")
    for wrong in ("ftp://x", "127.0.0.1:8080", "http://", "http://x:99999", "http://[x"):
        with pytest.raises(Misuse, match="is not an address"):
            _ = Session(wrong, "k", tmp_path).api


def test_events_as_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    waiting.json_lines("snapshot", {"id": ID})
    waiting.json_lines("task.running", {"seq": 2, "type": "task.running", "at": "x", "data": {}})
    waiting.json_lines("lost", "…")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"type": "snapshot", "data": {"id": ID}}
    assert lines[1:] == [{"seq": 2, "type": "task.running", "at": "x", "data": {}}]
