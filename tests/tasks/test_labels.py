"""What is a label, and how a request's labels become a row's."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.auth.callers import Caller
from app.core.db import Database
from app.tasks import queue
from app.tasks.labels import labels_of
from app.tasks.submission import mark_of, new_task
from app.tasks.wire import TaskIn
from tests.dispatch.records import pool_record
from tests.tasks.queue_driver import insert, task

CALLER = Caller("key", "t", frozenset())
KEYS = st.from_regex(r"[a-z0-9][a-z0-9._/-]{0,62}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=255)


def body(labels: object) -> TaskIn:
    return TaskIn.model_validate({"pool": "p", "labels": labels})


@given(st.dictionaries(KEYS, VALUES, max_size=16))
def test_what_fits_comes_back_from_the_row(labels: dict[str, str]) -> None:
    item = body(labels).submission()
    row = new_task(CALLER, item, pool_record(), None, None, None)
    assert labels_of(row.labels) == labels
    assert (row.labels is None) == (not labels)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"": "x"}, "the key ''"),
        ({"Team": "x"}, "the key 'Team'"),
        ({"-team": "x"}, "the key '-team'"),
        ({"team\n": "x"}, "the key 'team\\n'"),
        ({"té": "x"}, "the key"),
        ({"a" * 64: "x"}, "the key"),
        ({"team": "x" * 256}, "the value of 'team'"),
        ({"team": "a\nb"}, "the value of 'team'"),
        ({"team": "\x00"}, "the value of 'team'"),
        ({"team": "\x9b31m"}, "the value of 'team'"),
        ({f"k{n}": "x" for n in range(17)}, "at most 16 labels"),
        ({"team": 1}, "valid string"),
        ({"team": None}, "valid string"),
        (["team"], "valid dictionary"),
    ],
)
def test_what_is_no_label(labels: object, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        body(labels)
    assert says in refused.value.errors()[0]["msg"]


def test_labels_are_part_of_what_was_asked_in_any_order() -> None:
    first = body({"team": "search", "project": "x"}).submission()
    assert mark_of([first]) == mark_of([body({"project": "x", "team": "search"}).submission()])
    marks = [mark_of([body(labels).submission()]) for labels in ({"team": "search"}, {"team": "ads"}, {"t": "ads"}, {})]
    assert len({*marks, mark_of([first])}) == 5
    assert mark_of([body({}).submission()]) == mark_of([body(None).submission()])


def test_a_request_without_labels_keeps_the_mark_it_had_before_there_were_any() -> None:
    mark = mark_of([TaskIn(pool="p", payload={"b": 1}).submission()]).hex()
    assert mark == "a7ffd9cc0483f117ff3385544bb188012f3dbd4a23356653aa7b7fd96cf44bee"


async def test_what_is_ready_tells_its_labels_and_its_root(db: Database) -> None:
    root, parent = uuid4(), uuid4()
    plain = task()
    labelled = task(labels=json.dumps({"team": "search"}), root_id=root, parent_id=parent, parent_step="call")
    await insert(db, plain, labelled)
    async with db.hot() as connection:
        found = {item.id: item for item in await queue.ready(connection, [("p", 10, False)])}
    assert (found[plain.id].labels, found[plain.id].root_id) == (None, None)
    assert labels_of(found[labelled.id].labels) == {"team": "search"}
    assert found[labelled.id].root_id == root
