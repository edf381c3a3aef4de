"""One order for the events and tokens of a task, however they arrive.

Events are read from the table by number. Tokens come by another way (see `tokens.py`): earlier or later than the events
around them, twice, or not at all. What each says of the other (see `numbering.py`) gives one order, the agent's own:

    task.running (fence 3) · token 1 · token 2 · note 1 (after 2 tokens) · token 3 · task.succeeded (after 3 tokens)

An event is held back until the tokens before it are there or given up, a token until the note before it was read. The
tokens that are missing are named (`wants`), for the caller to fetch or to give up: a gap takes their place. Events that
say nothing of tokens pass as they come: those of other things than the attempt, and those of older versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from app.events.catalog import ENDINGS, FINAL, NOTES, START
from app.events.queries import EventRecord

MAX_HELD, MAX_HELD_BYTES = 1024, 1_048_576
ALL = 1 << 62
_PLACE = re.compile(r"(\d{1,9})(?:-(\d{1,18})-(\d{1,9}))?", re.ASCII)


class Place(NamedTuple):
    """A place in a task's stream: after event `seq`, or after token `n` of attempt `fence` behind that event."""

    seq: int
    fence: int | None = None
    n: int = 0

    def __str__(self) -> str:
        return str(self.seq) if self.fence is None else f"{self.seq}-{self.fence}-{self.n}"

    @classmethod
    def read(cls, text: str) -> Place | None:
        """From the text that `str` gives; None where it has another form."""
        match = _PLACE.fullmatch(text)
        if match is None:
            return None
        seq, fence, n = match.groups()
        return cls(int(seq)) if fence is None else cls(int(seq), int(fence), int(n))


@dataclass(frozen=True, slots=True)
class Token:
    """Token `n` of attempt `fence`, after `note` notes. `data` is JSON."""

    fence: int
    n: int
    note: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Something is missing here: `missing` tokens."""

    reason: str
    missing: int


class Want(NamedTuple):
    """Tokens `first` to `last` (None: all there are) of attempt `fence` are missing."""

    fence: int
    first: int
    last: int | None


class Mark(NamedTuple):
    """What an event says of its attempt's order; None where it does not say."""

    fence: int | None
    note: int | None
    tokens: int | None


class Said(NamedTuple):
    """The next thing of the stream, and the place after it."""

    place: Place
    what: EventRecord | Token | Gap


NOTHING = Mark(None, None, None)


def mark_of(event: EventRecord) -> Mark:
    """The event's place among the tokens; nothing for events that are not of an attempt."""
    if event.type != START and event.type not in NOTES and event.type not in ENDINGS:
        return NOTHING
    data = orjson.loads(event.data)
    if not isinstance(data, dict):
        return NOTHING
    return Mark(_count(data.get("fence")), _count(data.get("note")), _count(data.get("tokens")))


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Order:
    """Merges what comes after `after`. `anchor` is the last event up to there that starts, notes or ends an attempt."""

    __slots__ = (
        "_asked",
        "_events",
        "_fence",
        "_gap",
        "_held",
        "_held_bytes",
        "_n",
        "_note",
        "_open",
        "_seq",
        "_told",
        "ended",
    )

    def __init__(self, after: Place, anchor: EventRecord | None = None) -> None:
        self._seq = after.seq
        self._fence, self._open = 0, False  # the newest attempt known, and whether it runs here
        self._n = self._note = 0  # its last token and note
        self._told = 0  # what the last event told of tokens: its number alone leads back to there
        self._asked: int | None = None  # before which event (0: none yet) all that is stored was asked for
        self._events: list[tuple[EventRecord, Mark]] = []
        self._held: dict[tuple[int, int], Token] = {}
        self._held_bytes = 0
        self._gap: Gap | None = None
        self.ended = False
        if anchor is not None:
            self._enter(anchor, mark_of(anchor))
            if self._open and after.fence == self._fence:
                self._n = max(self._n, after.n)

    @property
    def waiting(self) -> bool:
        """Whether events that were added have not come out."""
        return bool(self._events)

    @property
    def blocked(self) -> EventRecord | None:
        """The event that waits, if one does."""
        return self._events[-1][0] if self._events else None

    def add_events(self, events: Iterable[EventRecord]) -> None:
        """The next events, in the order of their numbers."""
        # Kept with the next one last: an idle stream's list costs next to nothing, its deque would cost 600 bytes.
        self._events[:0] = [(event, mark_of(event)) for event in events][::-1]

    def add_tokens(self, tokens: Iterable[Token]) -> None:
        """Tokens in any order; those that are past are left out, and so are more than can be held (of those, the
        newest: they are missed, and asked for, when it is their turn)."""
        for token in tokens:
            key = (token.fence, token.n)
            if key in self._held or self._is_past(token):
                continue
            self._held[key] = token
            self._held_bytes += len(token.data)
            if len(self._held) > MAX_HELD or (self._held_bytes > MAX_HELD_BYTES and len(self._held) > 1):
                self._drop(max(self._held))

    def ready(self) -> Iterator[Said]:
        """What is next, for as long as that is known."""
        while True:
            if self._gap is not None:
                gap, self._gap = self._gap, None
                yield Said(self._here(), gap)
            while (token := self._next_token()) is not None:
                self._n = token.n
                yield Said(self._here(), token)
            if not self._events or self.wants is not None:
                return
            event, mark = self._events.pop()
            self._seq = event.seq
            self._enter(event, mark)
            self.ended = event.type in FINAL
            yield Said(self._after_event(), event)

    @property
    def wants(self) -> Want | None:
        """The missing tokens that are next, once nothing more is `ready`."""
        last = self._before_next() if self._open else self._n
        later = min((n for fence, n in self._held if fence == self._fence), default=None)
        if later is not None:
            last = min(last, later - 1)  # what is held comes after all that is missing
        if last < ALL:
            return Want(self._fence, self._n + 1, last) if last > self._n else None
        return None if self._asked == self._next_seq() else Want(self._fence, self._n + 1, None)

    def doubt(self) -> None:
        """Something may have been missed: ask for what is stored again."""
        self._asked = None

    def answered(self, want: Want) -> None:
        """What is stored of a `want` was added; of an open one nobody knows more."""
        if want.last is None:
            self._asked = self._next_seq()

    def give_up(self, reason: str) -> None:
        """Go on without the tokens that are wanted; a gap takes the place of those that are known to be missing."""
        want = self.wants
        if want is None:
            return
        self.answered(want)
        if want.last is not None:
            self._gap, self._n = Gap(reason, want.last - self._n), want.last

    def _before_next(self) -> int:
        """The last token before the next event: ALL where that is not known, the last one here where it may pass."""
        event, mark = self._teller()
        if mark.fence == self._fence and mark.tokens is not None:
            return mark.tokens
        return self._n if event is not None and event.type in NOTES else ALL

    def _teller(self) -> tuple[EventRecord | None, Mark]:
        """The next event that is of an attempt. Those before it that are not come after the attempt's tokens: what is
        written together with an attempt's end, such as a question to people, comes out in one place for all."""
        for event, mark in reversed(self._events):
            if mark is not NOTHING:
                return event, mark
        return None, NOTHING

    def _next_seq(self) -> int:
        return self._events[-1][0].seq if self._events else 0

    def _next_token(self) -> Token | None:
        token = self._held.get((self._fence, self._n + 1)) if self._open else None
        if token is None or not self._is_due(token):
            return None
        self._drop((token.fence, token.n))
        return token

    def _is_due(self, token: Token) -> bool:
        """Whether the notes before it are out, or will never be."""
        if token.note <= self._note:
            return True
        event, mark = self._teller()
        if event is None:
            return False
        told = mark.fence == token.fence and mark.tokens is not None
        return token.n <= (mark.tokens or 0) if told else _ends(event)

    def _enter(self, event: EventRecord, mark: Mark) -> None:
        """Take the event's word for where its attempt is."""
        if event.type in ENDINGS:
            self._fence, self._open = max(self._fence, mark.fence or 0), False
        elif event.type == START:
            self._begin(mark)
        elif event.type in NOTES and mark.note is None:
            self._note = ALL  # it does not count its notes: its tokens cannot wait for them
        elif event.type in NOTES:
            if mark.fence != self._fence or not self._open:
                self._begin(mark)
            self._note, self._told = mark.note or 0, mark.tokens or 0
            self._n = max(self._n, self._told)
        for key in [key for key, token in self._held.items() if self._is_past(token)]:
            self._drop(key)

    def _begin(self, mark: Mark) -> None:
        self._fence, self._open = mark.fence or 0, mark.fence is not None
        self._n = self._note = self._told = 0
        self._asked = None

    def _is_past(self, token: Token) -> bool:
        if token.fence != self._fence:
            return token.fence < self._fence
        return not self._open or token.n <= self._n

    def _drop(self, key: tuple[int, int]) -> None:
        self._held_bytes -= len(self._held.pop(key).data)

    def _here(self) -> Place:
        return Place(self._seq, self._fence, self._n) if self._open else Place(self._seq)

    def _after_event(self) -> Place:
        """The event's number, which says it all unless tokens came between it and the event that told of tokens."""
        return self._here() if self._n > self._told else Place(self._seq)


def _ends(event: EventRecord) -> bool:
    return event.type == START or event.type in ENDINGS
