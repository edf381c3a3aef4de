"""Following a task's events through what goes wrong on the way, against a small real server."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.cli import following
from app.cli.client import Api
from app.cli.failures import Away, Refused
from app.cli.sse import Event

type Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(*answers: Answer) -> Iterator[tuple[Api, list[str | None]]]:
    """Answers one request after the other, the last for ever; and the Last-Event-ID of each request."""
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("last-event-id"))
            answers[min(len(seen), len(answers)) - 1](self)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        api = Api(f"http://127.0.0.1:{http.server_address[1]}", "yk_x", trust_env=False)
        yield api, seen
        api.close()
        http.shutdown()
        thread.join()


def stream(*parts: str, wait: threading.Event | None = None) -> Answer:
    """The parts as an event stream; then the connection ends, or after `wait`."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.end_headers()
        for part in parts:
            request.wfile.write(part.encode())
        request.wfile.flush()
        if wait is not None:
            wait.wait(20)

    return answer


def problem(status: int, code: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"code": code, "detail": "So it is."}).encode()
        request.send_response(status)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def snapshot(status: str, seq: int) -> str:
    return f'id: {seq}\nevent: snapshot\ndata: {{"status":"{status}"}}\n\n'


def event(name: str, seq: int) -> str:
    return f'id: {seq}\nevent: task.{name}\ndata: {{"seq":{seq}}}\n\n'


def heard_from(api: Api, timeout_s: float | None = 20) -> tuple[list[str], bool]:
    events: list[Event] = []
    final = following.follow(api, "t", events.append, timeout_s)
    return [event.type for event in events], final


def test_a_final_snapshot_is_the_end() -> None:
    with server(stream(snapshot("failed", 4))) as (api, seen):
        assert heard_from(api) == (["snapshot"], True)
        assert seen == [None]


def test_half_an_event_is_not_heard_and_what_was_missed_is_asked_for() -> None:
    broken = stream(snapshot("queued", 1), event("running", 2), "id: 3\nevent: task.succeeded\nda")
    rest = stream(event("progress", 3), event("succeeded", 4))
    with server(broken, problem(503, "unavailable"), rest) as (api, seen):
        assert heard_from(api) == (["snapshot", "task.running", "lost", "task.progress", "task.succeeded"], True)
    assert seen == [None, "2", "2"]


def test_time_runs_out() -> None:
    ended = threading.Event()
    with server(stream(snapshot("running", 1), wait=ended)) as (api, _):
        assert heard_from(api, 3.0) == (["snapshot"], False)
        ended.set()


def test_a_refusal_ends_it() -> None:
    with server(problem(404, "task_not_found")) as (api, seen):
        with pytest.raises(Refused, match=r"^So it is \(task_not_found\)$"):
            heard_from(api)
        assert len(seen) == 1


def test_nobody_there_at_first() -> None:
    with server(stream()) as (api, _):
        pass
    with pytest.raises(Away, match="cannot reach the service"):
        heard_from(api)


def test_away_for_too_long() -> None:
    answers = stream(snapshot("running", 1)), problem(503, "unavailable")
    with server(*answers) as (api, _), pytest.raises(Refused, match="unavailable"):
        following.follow(api, "t", lambda event: None, 20, give_up_s=0.3)
