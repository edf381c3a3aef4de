"""The notifier seam: how people are reached.

A notifier is one object a manager, built without I/O; loops and requests call it concurrently:

    open()                     before the first call, inside the event loop
    send(channel, message)     posts; the receipt is what `update` needs, also in another manager and another year
    update(receipt, message)   makes the posted message say this instead; doing it twice shows the same
    close()                    after the last call; both may be called when the other was not

`channel` is a name as its operator wrote it, `Receipt` as `send` returned it. A message is plain text: the notifier
escapes what its medium would take for markup, keeps the medium's limits by cutting with an ellipsis, and where it cut
anything says so, adds `message.elsewhere`, and leaves out the actions that need the whole (`Action.needs_whole`).

`send` and `update` raise `Undelivered` and nothing else. It says whether trying the same again can help; the caller
decides when. A call ends by itself within a bounded time and is never retried inside. Cancelling it, or a failure
whose cause is unknown, leaves open whether the message was posted: delivery is at least once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

type Value = str | datetime
"""A time is shown in the reader's own zone where the medium can."""


class Undelivered(Exception):
    """The message did not arrive. `retry`: the same may arrive later.

    `retry_after_s`: before so many seconds the notifier should not be called at all, for no message. `reason`: bounded,
    without secrets, for people.
    """

    def __init__(self, reason: str, *, retry: bool, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.retry_after_s = reason, retry, retry_after_s


@dataclass(frozen=True, slots=True)
class Confirm:
    """What is asked before an action is taken."""

    title: str
    text: str
    yes: str
    no: str


@dataclass(frozen=True, slots=True)
class Action:
    """A button. `id` and `value` come back with the click. `needs_whole`: only to be offered with an uncut message."""

    id: str
    label: str
    value: str
    style: Literal["primary", "danger"] | None = None
    confirm: Confirm | None = None
    needs_whole: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; `code`: shown literally, in a fixed width."""

    text: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. `by` is a name; `source` is where the word came from, `slack:U123` for a person of Slack."""

    text: str
    by: str = ""
    source: str = ""
    at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. With an `outcome` there is nothing more to do: actions are not offered.

    `elsewhere`: where all of it can be read and acted on, for a message that had to be cut.
    """

    title: str
    fields: tuple[tuple[str, Value], ...] = ()
    texts: tuple[Text, ...] = ()
    actions: tuple[Action, ...] = ()
    outcome: Outcome | None = None
    elsewhere: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where a message was posted; `message_id` is the notifier's own, opaque to others."""

    channel: str
    message_id: str


class Notifier(Protocol):
    """See the module's text."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, channel: str, message: Message) -> Receipt: ...

    async def update(self, receipt: Receipt, message: Message) -> None: ...
