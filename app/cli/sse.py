"""Server-sent events: from the bytes of a stream to events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.cli.answers import decoded


@dataclass(frozen=True, slots=True)
class Event:
    """`type` is the event's name, `data` its decoded JSON (the text where it is none)."""

    type: str
    data: Any


class Decoder:
    """Fed with a stream's bytes as they come, in pieces of any size; survives reconnects.

    `last_id` is what to send as Last-Event-ID. Format: WHATWG HTML, "Server-sent events". Lines end with \\n or
    \\r\\n only as bytes: `str.splitlines` would also break at U+2028, which JSON leaves unescaped.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._rest = b""
        self._reset()

    def restart(self) -> None:
        """A new connection: what the old one left half-said is void."""
        self._rest = b""
        self._reset()

    def _reset(self) -> None:
        self._type, self._data, self._id = "message", list[str](), self.last_id

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that this piece completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode("utf-8", errors="replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _complete(self) -> Event | None:
        kind, text = self._type, "\n".join(self._data)
        had = bool(self._data)
        # Only now: the id of an event that was cut off must not pass for one that was heard.
        self.last_id = self._id
        self._reset()
        return Event(kind, _data(text)) if had else None


def _data(text: str) -> Any:
    try:
        return decoded(text)
    except ValueError:
        return text
