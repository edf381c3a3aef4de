"""Server-sent events: one event's frame, and a decoder that is fed a stream's lines."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PING = b": ping\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream: its `type`, its `data` (decoded JSON, else the text) and its `id`, if any."""

    type: str
    data: Any
    id: str | None = None


def frame(event: str, data: bytes) -> bytes:
    """The bytes of one event on the wire; `data` is JSON without line breaks."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


class Decoder:
    """Turns a stream's lines into events, as the HTML standard's "interpreting an event stream" says.

    `last_id` is what to send as Last-Event-ID on reconnect; `retry_s` is the server's wish for the pause
    before that, None until it spoke.
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self.retry_s: float | None = None
        self._rest = b""
        self.restart()

    def restart(self) -> None:
        """A new connection: what the old one left half-said is void."""
        self._rest = b""
        self._type, self._data, self._id = "", list[str](), self.last_id

    def pieces(self, chunk: bytes) -> Iterator[Event]:
        """The events completed by the next bytes of the stream.

        Lines are cut as bytes: a text's own line breaks include U+2028, which JSON leaves unescaped.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self.feed(line.removesuffix(b"\r").decode("utf-8", errors="replace"))
            if event is not None:
                yield event

    def feed(self, line: str) -> Event | None:
        """Take one line (without its break); returns the event that an empty line completes."""
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value  # counts once its event is whole: a cut one was not heard
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000
        return None

    def _dispatch(self) -> Event | None:
        kind, lines = self._type or "message", self._data
        self._type, self._data, self.last_id = "", [], self._id
        if not lines:
            return None
        text = "\n".join(lines)
        try:
            data = json.loads(text)
        except ValueError:
            data = text
        return Event(kind, data, self.last_id)
