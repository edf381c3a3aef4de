"""Reading an agent's answers: pure functions from bytes to endings. Whatever an agent sends, an ending comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.core.errors import Problem
from app.core.jsonbody import dump_json, parse_json
from app.costs.quantities import read_usage
from app.dispatch.executors.base import Ending, Failed, Refused, Sink, Succeeded, Suspended
from app.dispatch.executors.durable import Steps, read_ask
from app.tasks.queue import UsageRow

MAX_USAGE_ROWS = 200
LEAVING = frozenset({"shutdown", "draining"})
"""Error codes by which an agent says that it stops before it is done: no fault of the task."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CODE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def bad_response(message: str) -> Failed:
    """The agent broke the contract; another agent, or another try, may keep it."""
    return Failed("executor_bad_response", message, retry=True)


def too_large(limit: int) -> Failed:
    """A second try would be as large."""
    return Failed("executor_too_large", f"The agent's answer is larger than {limit} bytes.", retry=False)


def of_status(status: int, body: bytes, retry_after: str | None) -> Ending:
    """The ending for any status but 200."""
    code, message = _error_of(body)
    if status in (429, 503):
        return Refused(message or f"the agent answered {status}", _retry_after_s(retry_after))
    if 300 <= status < 400:
        return bad_response(f"The agent answered with a redirect ({status}); redirects are not followed.")
    if 400 <= status < 500:
        return Failed(code or "executor_rejected", message or f"The agent answered {status}.", retry=False)
    if status >= 500:
        return Failed(code or "executor_error", message or f"The agent answered {status}.", retry=True)
    return bad_response(f"The agent answered {status}, not 200.")


def of_json(body: bytes) -> Ending:
    """The ending for `200 application/json`."""
    try:
        answer = parse_json(body)
    except Problem as exc:
        return bad_response(f"The agent's answer cannot be read: {exc.detail}")
    if not isinstance(answer, dict) or "result" not in answer:
        return bad_response('The agent\'s answer is not an object with "result".')
    usage = _usage_rows(answer.get("usage"))
    if isinstance(usage, str):
        return bad_response(usage)
    return Succeeded(dump_json(answer["result"]), answer["result"], usage)


@dataclass(slots=True)
class SseReader:
    """Cuts a byte stream into (event, data) by the WHATWG rules; a buffer past `max_bytes` raises OverflowError."""

    max_bytes: int
    _buffer: bytearray = field(default_factory=bytearray)
    _event: str = ""
    _data: list[bytes] = field(default_factory=list)
    _held: int = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, bytes]]:
        """Events completed by this chunk."""
        self._buffer += chunk
        *lines, rest = self._buffer.replace(b"\r\n", b"\n").split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            if not line:
                if self._data:
                    yield self._event or "message", b"\n".join(self._data)
                self._event, self._data, self._held = "", [], 0
            else:
                self._field(bytes(line))
        if len(self._buffer) + self._held > self.max_bytes:
            raise OverflowError

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"data":
            self._data.append(value)
            self._held += len(value) + 1


@dataclass(slots=True)
class StreamState:
    """What an event stream has said so far. `take` gives the ending once one came."""

    sink: Sink
    max_event_bytes: int
    max_events: int
    steps: Steps = field(default_factory=Steps)
    usage: list[UsageRow] = field(default_factory=list)
    events: int = 0

    def take(self, event: str, data: bytes) -> Ending | None:
        """Apply one event."""
        if event not in ("result", "error", "suspend", "step") and len(data) > self.max_event_bytes:
            return self._end(
                Failed("executor_too_large", f"A {event} event is larger than {self.max_event_bytes} bytes.", False)
            )
        try:
            value = parse_json(data)
        except Problem as exc:
            return self._end(bad_response(f"The data of a {event!r} event cannot be read: {exc.detail}"))
        if not isinstance(value, dict):
            return self._end(bad_response(f"The data of a {event!r} event is not a JSON object."))
        return self._apply(event, value)

    def _apply(self, event: str, value: dict[str, object]) -> Ending | None:
        take = {
            "result": self._result,
            "error": self._error,
            "token": self._token,
            "progress": self._progress,
            "usage": self._used,
            "step": self._step,
            "suspend": self._suspend,
        }.get(event)
        if take is None:
            shown = _plain(event)[:64]
            return self._end(Failed("executor_unknown_event", f"An event {shown!r} is not known here.", False))
        return take(value)

    def _token(self, value: dict[str, object]) -> None:
        self.sink.token({"text": str(value.get("text", ""))})

    def _used(self, value: dict[str, object]) -> Ending | None:
        rows = _usage_rows([value])
        if isinstance(rows, str) or len(self.usage) >= MAX_USAGE_ROWS:
            return self._end(bad_response(rows if isinstance(rows, str) else "Too many usage events."))
        self.usage.extend(rows)
        self.sink.usage(rows[0])
        return None

    def ended_early(self) -> Ending:
        """The stream ended without a result or an error."""
        return self._end(Failed("executor_disconnected", "The agent's stream ended before its result.", retry=True))

    def _result(self, value: dict[str, object]) -> Ending:
        if "result" not in value:
            return self._end(bad_response('The "result" event has no "result".'))
        return Succeeded(dump_json(value["result"]), value["result"], tuple(self.usage))

    def _error(self, value: dict[str, object]) -> Ending:
        code, message = _code_and_message(value)
        if code in LEAVING:
            return Refused(message or "The agent is leaving.", usage=tuple(self.usage))
        return self._end(
            Failed(code or "executor_error", message or "The agent failed.", value.get("retry") is not False)
        )

    def _step(self, value: dict[str, object]) -> Ending | None:
        known = self.steps.add(value)
        if isinstance(known, Failed):
            return self._end(known)
        if known is None:
            return None  # a run that was joined tells its steps again
        self.sink.step(*known)
        return self._count()

    def _suspend(self, value: dict[str, object]) -> Ending:
        ask = read_ask(value)
        if isinstance(ask, str):
            return self._end(Failed("bad_suspend", ask, retry=False))
        return Suspended(ask, tuple(self.usage))

    def _count(self) -> Ending | None:
        self.events += 1
        if self.events > self.max_events:
            return self._end(Failed("executor_too_large", f"More than {self.max_events} stored events.", retry=False))
        return None

    def _progress(self, value: dict[str, object]) -> Ending | None:
        ending = self._count()
        if ending is not None:
            return ending
        percent = value.get("percent")
        known = isinstance(percent, int | float) and not isinstance(percent, bool)
        shown = max(0.0, min(100.0, float(percent))) if known else None  # type: ignore[arg-type]
        self.sink.progress({"percent": shown, "message": str(value.get("message") or "")[:2000]})
        return None

    def _end(self, failed: Failed) -> Failed:
        return Failed(failed.code, failed.message, failed.retry, tuple(self.usage))


def _usage_rows(value: object) -> tuple[UsageRow, ...] | str:
    """Rows of a `usage` list, or what is wrong with it."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_USAGE_ROWS:
        return f'"usage" is not a list of at most {MAX_USAGE_ROWS} objects.'
    rows = []
    for item in value:
        read = read_usage(item)
        if isinstance(read, str):
            return read
        rows.append(UsageRow(read.model, read.input_tokens, read.output_tokens, dump_json(read.quantities)))
    return tuple(rows)


def _error_of(body: bytes) -> tuple[str | None, str | None]:
    """Code and message of an error body: ours (`{"error": {…}}`), problem+json, or text."""
    try:
        value = parse_json(body)
    except Problem:
        text = _plain(body[:500].decode(errors="replace"))
        return None, text or None
    if isinstance(value, dict):
        inner = value.get("error")
        return _code_and_message(inner if isinstance(inner, dict) else value)
    return None, None


def _code_and_message(value: dict[str, object]) -> tuple[str | None, str | None]:
    code = value.get("code")
    message = value.get("message") or value.get("detail")
    valid = isinstance(code, str) and _CODE.fullmatch(code) is not None
    return str(code) if valid else None, _plain(str(message)) if message else None


def _plain(text: str) -> str:
    """Text of an agent without control characters, which could write on an operator's terminal or in a log."""
    return _CONTROL.sub(" ", text[:2000]).strip()


def _retry_after_s(text: str | None) -> float | None:
    """Retry-After in seconds; its date form is not used by agents and counts as absent."""
    if text is None or not text.strip().isascii() or not text.strip().isdigit():
        return None
    return min(3600.0, float(text.strip()[:9]))
