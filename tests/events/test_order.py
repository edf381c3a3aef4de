"""Events and tokens come out in the agent's own order, however they arrive."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.events.catalog import ENDINGS, NOTES, START
from app.events.numbering import Numbering
from app.events.order import MAX_HELD, MAX_HELD_BYTES, Gap, Order, Place, Said, Token, Want
from app.events.queries import EventRecord

AT = datetime(2026, 1, 1, tzinfo=UTC)
type Truth = list[EventRecord | Token]


class Story:
    """Tells what an agent does; `said` is the one order."""

    def __init__(self) -> None:
        self.said: Truth = []
        self._seq = self._fence = 0
        self._numbering = Numbering(0)

    def event(self, kind: str, **data: object) -> None:
        self._seq += 1
        self.said.append(EventRecord(self._seq, kind, AT, json.dumps(data)))

    def start(self) -> None:
        self._fence += 1
        self._numbering = Numbering(self._fence)
        self.event(START, attempt=1, fence=self._fence)

    def token(self, size: int = 1) -> None:
        n, note = self._numbering.token()
        self.said.append(Token(self._fence, n, note, b"x" * size))

    def note(self, kind: str = "task.progress") -> None:
        self.event(kind, **self._numbering.note())

    def end(self, kind: str, *, told: bool = True) -> None:
        self.event(kind, code="c", **(self._numbering.ending() if told else {}))

    @property
    def events(self) -> list[EventRecord]:
        return [item for item in self.said if isinstance(item, EventRecord)]

    @property
    def tokens(self) -> list[Token]:
        return [item for item in self.said if isinstance(item, Token)]


def told(script: str) -> Story:
    """A story of one letter a thing: [start, t token, n progress, s step, w waiting, r retrying, e succeeded (w, r, e
    tell of their tokens; capitals do not), c another event."""
    story = Story()
    for letter in script:
        match letter:
            case "[":
                story.start()
            case "t":
                story.token()
            case "n" | "s":
                story.note("task.progress" if letter == "n" else "task.step")
            case "c":
                story.event("approval.requested")
            case _:
                kinds = {"w": "task.waiting", "r": "task.retrying", "e": "task.succeeded"}
                story.end(kinds[letter.lower()], told=letter.islower())
    return story


def drained(order: Order) -> list[Said]:
    return list(order.ready())


@dataclass
class Reader:
    """Reads as `stream.py` does, from a table and a store of tokens."""

    order: Order
    store: Sequence[Token]
    out: list[Said] = field(default_factory=list)

    def read(self, known: int) -> None:
        """Take all that is ready; of the store, the first `known` tokens are there."""
        while True:
            self.out += drained(self.order)
            want = self.order.wants
            if want is None:
                return
            fetched = [token for token in self.store[:known] if covers(want, token)][:3]
            self.order.add_tokens(fetched)
            if not fetched or fetched[0].n != want.first:
                self.order.answered(want)
                if want.last is not None:
                    self.order.give_up("gone")

    @property
    def said(self) -> list[EventRecord | Token | Gap]:
        return [item.what for item in self.out]


def covers(want: Want, token: Token) -> bool:
    return token.fence == want.fence and want.first <= token.n <= (want.last or token.n)


def anchor_of(events: Iterable[EventRecord], seq: int) -> EventRecord | None:
    kinds = {START} | NOTES | ENDINGS
    return max((e for e in events if e.seq <= seq and e.type in kinds), key=lambda e: e.seq, default=None)


# Other things than the attempt's happen while it does not run, or in the transaction that ends it.
ATTEMPTS = st.tuples(st.text("tns", max_size=8), st.sampled_from(["w", "r", "W", "R", "cw", "wc"])).map("".join)
LAST = st.tuples(st.text("tns", max_size=8), st.sampled_from(["", "e", "E"])).map("".join)
SCRIPTS = st.tuples(st.lists(ATTEMPTS, max_size=3), LAST).map(
    lambda parts: "c" + "".join("[" + attempt for attempt in parts[0]) + "[" + parts[1]
)


def live(story: Story, order: Order, data: st.DataObject, store: Sequence[Token]) -> Reader:
    """A reader of a story while it goes on: events are seen late, tokens heard late, twice, out of turn or never."""
    reader = Reader(order, store)
    unheard: list[Token] = []
    unseen: list[EventRecord] = []
    known = 0
    for item in story.said:
        if isinstance(item, Token):
            known += 1
            unheard += [item] * data.draw(st.sampled_from([1, 1, 1, 0, 2]))
        else:
            unseen.append(item)
        if data.draw(st.booleans()):
            index = data.draw(st.integers(0, len(unheard)))
            order.add_tokens(unheard[:index])
            del unheard[:index]
        # What one transaction wrote is seen together.
        if data.draw(st.booleans()) and (not unseen or unseen[-1].type != "approval.requested"):
            order.add_events(unseen)
            unseen.clear()
        if data.draw(st.booleans()):
            reader.read(known)
    order.add_tokens(data.draw(st.permutations(unheard)))
    order.add_events(unseen)
    order.doubt()  # else a last token that was not heard is missed, but not before the next one
    reader.read(known)
    return reader


@given(SCRIPTS, st.data())
def test_every_reader_has_the_one_order(script: str, data: st.DataObject) -> None:
    story = told(script)
    reader = live(story, Order(Place(0)), data, story.tokens)
    assert reader.said == story.said


@given(SCRIPTS, st.data())
def test_every_place_leads_back_to_what_follows_it(script: str, data: st.DataObject) -> None:
    story = told(script)
    whole = live(story, Order(Place(0)), data, story.tokens)
    cut = data.draw(st.integers(0, len(whole.out) - 1))
    place = Place.read(str(whole.out[cut].place))
    assert place is not None
    rest = Reader(Order(place, anchor_of(story.events, place.seq)), story.tokens)
    rest.order.add_events([event for event in story.events if event.seq > place.seq])
    rest.read(len(story.tokens))
    assert rest.said == whole.said[cut + 1 :]


@given(SCRIPTS.map(str.lower), st.data())
def test_what_is_lost_is_told(script: str, data: st.DataObject) -> None:
    story = told(script)
    kept = [token for token in story.tokens if data.draw(st.booleans())]
    reader = Reader(Order(Place(0)), kept)
    reader.order.add_events(story.events)
    reader.read(len(kept))
    said = [item for item in reader.said if not isinstance(item, Gap)]
    known = {id(item) for item in said}
    assert said == [item for item in story.said if id(item) in known], "in order, nothing twice"
    assert [item for item in said if isinstance(item, EventRecord)] == story.events
    last = max((token for token in story.tokens), key=lambda token: (token.fence, token.n), default=None)
    tail = script.rpartition("[")[2]
    if last in kept or "e" in tail or "t" not in tail:
        missing = sum(item.missing for item in reader.said if isinstance(item, Gap))
        assert missing == len(story.tokens) - len(kept)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("0", Place(0)),
        ("12", Place(12)),
        ("12-3-345", Place(12, 3, 345)),
        ("999999999", Place(999_999_999)),
        *((text, None) for text in ("", "-1", "1-2", "1-2-3-4", "1.5", " 1", "1 ", "9999999999", "٢", "1--2", "x-1-1")),
    ],
)
def test_places_are_read_as_they_are_written(text: str, place: Place | None) -> None:
    assert Place.read(text) == place
    if place is not None:
        assert str(place) == text


def test_ids_are_plain_unless_tokens_came_between() -> None:
    story = told("[ttnte")
    reader = Reader(Order(Place(0)), story.tokens)
    reader.order.add_events(story.events)
    reader.read(3)
    assert [str(item.place) for item in reader.out] == ["1", "1-1-1", "1-1-2", "2", "2-1-3", "3"]


def test_an_event_of_another_thing_in_the_middle_keeps_the_tokens_place() -> None:
    """`c` comes between the second and third token, for whoever is there; its id says so."""
    story = told("[ttctn")
    order = Order(Place(0))
    order.add_events(story.events[:2])
    order.add_tokens(story.tokens[:2])
    reader = Reader(order, [])
    reader.read(0)
    assert [str(item.place) for item in reader.out] == ["1", "1-1-1", "1-1-2", "2-1-2"]
    resumed = Order(Place(2, 1, 2), anchor_of(story.events, 2))
    resumed.add_events(story.events[2:])
    assert resumed.wants == Want(1, 3, 3)


def test_a_token_waits_for_the_note_before_it() -> None:
    story = told("[nt")
    order = Order(Place(0))
    order.add_events(story.events[:1])
    reader = Reader(order, [])
    reader.read(0)
    order.add_tokens(story.tokens)
    reader.read(0)
    assert len(reader.out) == 1
    order.add_events(story.events[1:])
    reader.read(0)
    assert reader.said == story.said


def test_a_note_that_was_never_stored_holds_nothing_up() -> None:
    story = told("[ntnt")
    order = Order(Place(0))
    order.add_tokens(story.tokens)
    order.add_events([story.events[0], story.events[2]])
    assert [said.what for said in drained(order)] == [story.said[i] for i in (0, 2, 3, 4)]


def test_rows_that_tell_nothing_of_tokens_pass_as_they_come() -> None:
    """Those of an older version: no number in the notes, and tokens that none of them waits for."""
    order = Order(Place(0))
    events = [EventRecord(seq, kind, AT, "{}") for seq, kind in enumerate(["task.queued", "task.progress"], 1)]
    events.insert(1, EventRecord(2, START, AT, '{"fence": 1}'))
    order.add_events(events)
    reader = Reader(order, [])
    reader.read(0)
    assert [item.what for item in reader.out] == events
    order.add_tokens([Token(1, 1, 9, b"x")])
    reader.read(0)
    assert reader.said[-1] == Token(1, 1, 9, b"x")


@pytest.mark.parametrize("data", ["[]", "null", '{"fence":"x","note":-1,"tokens":true}', '{"fence":1.5}'])
@pytest.mark.parametrize("kind", [START, "task.progress", "task.succeeded"])
def test_data_that_is_not_as_it_should_be_blocks_nothing(kind: str, data: str) -> None:
    order = Order(Place(0))
    order.add_events([EventRecord(1, kind, AT, data)])
    assert len(drained(order)) == 1


def test_tokens_of_an_attempt_that_is_over_are_dropped() -> None:
    story = told("[tw[t")
    order = Order(Place(0))
    order.add_events(story.events[:2])
    reader = Reader(order, story.tokens)
    reader.read(1)
    order.add_tokens([Token(1, 2, 0, b"late"), *story.tokens])
    order.add_events(story.events[2:])
    reader.read(1)
    assert reader.said == story.said and not order._held and order._held_bytes == 0


def test_what_is_held_is_bounded_and_the_rest_is_asked_for_in_its_turn() -> None:
    story = Story()
    story.start()
    for _ in range(MAX_HELD + 50):
        story.token()
    story.note()
    order = Order(Place(0))
    order.add_tokens(story.tokens)
    assert len(order._held) == MAX_HELD
    order.add_events(story.events)
    out = drained(order)
    assert order.wants == Want(1, MAX_HELD + 1, MAX_HELD + 50)
    order.add_tokens(story.tokens)
    assert [said.what for said in out + drained(order)] == story.said


def test_what_is_held_is_bounded_by_bytes() -> None:
    order = Order(Place(0))
    order.add_tokens(Token(1, n, 0, b"x" * 60_000) for n in range(1, 100))
    assert order._held_bytes <= MAX_HELD_BYTES
    assert min(n for _, n in order._held) == 1, "the first are kept: their turn comes first"
