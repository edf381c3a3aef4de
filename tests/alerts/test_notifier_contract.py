"""What every notifier keeps, whatever its medium; the seam's text is in `notifiers/base.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from app.alerts.notifiers import registry
from app.alerts.notifiers.base import Action, Message, Notifier, Outcome, Receipt, Text, Undelivered
from app.alerts.notifiers.slack import SlackNotifier
from app.settings import Settings
from tests.alerts.paper import PaperNotifier
from tests.alerts.room import settings_of
from tests.support.slack_server import SlackServer

WHOLE = Action("go", "Go", "v", needs_whole=True)
ANY = Action("stop", "Stop", "v")
SMALL = Message("A title", (("Name", "value"),), (Text("A text."), Text("code()", code=True)), (WHOLE, ANY))
ENDED = Message("A title", actions=(WHOLE, ANY), outcome=Outcome("Done", by="ann", at=datetime(2026, 1, 1, tzinfo=UTC)))
LONG = Message("A title", texts=(Text("x" * 50_000, code=True),), actions=(WHOLE, ANY), elsewhere="Read it there.")


@dataclass
class Subject:
    """A notifier, and what its medium shows: the texts and the buttons' ids of the newest message."""

    notifier: Notifier
    shown: Callable[[], tuple[str, list[str]]]
    count: Callable[[], int]
    away: Callable[[bool], object]
    channel: str


@pytest.fixture(params=["paper", *sorted(registry.BUILT_IN)])
async def subject(request: pytest.FixtureRequest, slack: SlackServer) -> AsyncIterator[Subject]:
    if request.param == "paper":
        paper = PaperNotifier()
        made = Subject(paper, paper.newest, lambda: len(paper.sheets), paper.go, "wall")
    else:
        assert request.param == "slack", "a new notifier needs its medium here"
        made = _in_slack(slack)
    await made.notifier.open()
    yield made
    await made.notifier.close()


def _in_slack(slack: SlackServer) -> Subject:
    def away(gone: bool) -> None:
        slack.faults.extend([(503, "<html>away</html>", {})] if gone else [])

    def newest() -> tuple[str, list[str]]:
        message = slack.posted[-1]
        return f"{message.text}\n{message.seen()}", list(message.buttons())

    return Subject(SlackNotifier(settings_of(slack)), newest, lambda: len(slack.posted), away, "#approvals")


async def test_a_message_shows_its_parts(subject: Subject) -> None:
    await subject.notifier.send(subject.channel, SMALL)
    text, buttons = subject.shown()
    for part in ("A title", "Name", "value", "A text.", "code()"):
        assert part in text
    assert buttons == ["go", "stop"]


async def test_an_update_replaces_it_and_may_come_twice(subject: Subject) -> None:
    receipt = await subject.notifier.send(subject.channel, SMALL)
    await subject.notifier.update(receipt, ENDED)
    once = subject.shown()
    await subject.notifier.update(receipt, ENDED)
    assert subject.shown() == once
    assert subject.count() == 1
    assert "Done" in once[0]
    assert "ann" in once[0]
    assert "code()" not in once[0]
    assert once[1] == []


async def test_a_receipt_is_good_in_another_manager(subject: Subject) -> None:
    receipt = await subject.notifier.send(subject.channel, SMALL)
    await subject.notifier.update(Receipt(receipt.channel, receipt.message_id), ENDED)
    assert "Done" in subject.shown()[0]


async def test_what_is_cut_says_so_and_offers_nothing_that_needs_the_whole(subject: Subject) -> None:
    await subject.notifier.send(subject.channel, LONG)
    text, buttons = subject.shown()
    if LONG.texts[0].text not in text:
        assert "…" in text
        assert "Read it there." in text
        assert buttons == ["stop"]


async def test_many_at_once_are_all_posted(subject: Subject) -> None:
    receipts = await asyncio.gather(*(subject.notifier.send(subject.channel, SMALL) for _ in range(20)))
    assert len({receipt.message_id for receipt in receipts}) == 20 == subject.count()


async def test_an_absent_medium_is_undelivered_and_worth_trying_again(subject: Subject) -> None:
    subject.away(True)
    with pytest.raises(Undelivered) as failed:
        await subject.notifier.send(subject.channel, SMALL)
    assert failed.value.retry
    assert 0 < len(failed.value.reason) < 300
    subject.away(False)
    await subject.notifier.send(subject.channel, SMALL)
    assert subject.count() == 1


async def test_an_unknown_message_is_undelivered_for_good(subject: Subject) -> None:
    receipt = await subject.notifier.send(subject.channel, SMALL)
    with pytest.raises(Undelivered) as failed:
        await subject.notifier.update(Receipt(receipt.channel, receipt.message_id + "9"), ENDED)
    assert not failed.value.retry


async def test_a_closed_notifier_is_undelivered_and_close_may_come_twice(subject: Subject) -> None:
    await subject.notifier.close()
    with pytest.raises(Undelivered) as failed:
        await subject.notifier.send(subject.channel, SMALL)
    assert failed.value.retry
    await subject.notifier.close()


def test_without_its_settings_a_notifier_is_off() -> None:
    assert registry.load([]).build(Settings()) == {}
