"""Clicks on the buttons of approvals: who it was, what they decided, and what they are told.

Every click is answered, also the late, the doubled and the unauthorised one. Slack waits 3 s: the decision is made
before the answer where it can be, and after it otherwise; a click whose decision failed is told to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs
from uuid import UUID

import orjson
import structlog
from pydantic import BaseModel, Field, ValidationError

from app.alerts import queries
from app.alerts.notifiers.base import Notifier, Receipt, Undelivered
from app.alerts.question import APPROVE, REJECT, Facts, message, read_button, visible
from app.alerts.replies import Replies
from app.alerts.telemetry import CLICKS
from app.auth.callers import Caller
from app.core.db import Database
from app.core.errors import BadRequest, Problem, Unavailable
from app.core.http import DATABASE_AWAY

log = structlog.get_logger()

MAX_OPEN, CLOSE_S = 256, 3.0
USER = r"^[UW][A-Z0-9]{1,30}$"
SOURCE = "slack"
_DONE = {
    "approved": "approved",
    "edited": "approved with changed arguments",
    "rejected": "rejected",
    "expired": "expired",
}
_DECISIONS: Mapping[str, bool] = {APPROVE: True, REJECT: False}


class BadPayload(BadRequest):
    code, title = "slack_payload_invalid", "Not a payload of Slack"


class Decide(Protocol):
    """`Approvals.decide`: raises a Problem when the word does not count."""

    async def __call__(
        self, caller: Caller, approval_id: UUID, *, approve: bool, payload_hash: str, reason: str = "", source: str
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class Click:
    """One click. `message_id` is the notifier's id of the message that was clicked, "" where Slack did not say."""

    user_id: str
    approval_id: UUID
    payload_hash: str
    approve: bool
    message_id: str
    response_url: str


class _Named(BaseModel):
    id: str = Field(pattern=USER)


class _Place(BaseModel):
    channel_id: str = ""
    message_ts: str = ""


class _Pressed(BaseModel):
    action_id: str = ""
    value: str = Field("", max_length=2000)


class Interaction(BaseModel):
    """What we read of https://docs.slack.dev/reference/interaction-payloads/block_actions-payload."""

    user: _Named
    container: _Place = _Place()
    actions: list[_Pressed] = Field(max_length=25)
    response_url: str = Field("", max_length=2000)


def interaction(body: bytes) -> Interaction | None:
    """The presses of buttons in a form's `payload`; None for other interactions. Raises BadPayload."""
    try:
        fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)
        payload: Any = orjson.loads(fields["payload"][0])
        if not isinstance(payload, dict) or not isinstance(payload.get("type"), str):
            raise BadPayload("The payload is not an object with a type.")
        return None if payload["type"] != "block_actions" else Interaction.model_validate(payload)
    except (ValueError, KeyError, ValidationError) as exc:  # orjson's and Unicode's errors are ValueErrors
        raise BadPayload("The body is not a form whose `payload` is the JSON of an interaction.") from exc


def read(found: Interaction) -> list[Click]:
    """The clicks on buttons of approvals. Raises BadPayload."""
    return [click for pressed in found.actions if (click := _click(found, pressed)) is not None]


def _click(found: Interaction, pressed: _Pressed) -> Click | None:
    if pressed.action_id not in _DECISIONS:
        return None
    try:
        approval_id, payload_hash = read_button(pressed.value)
    except ValueError:
        raise BadPayload("The button's value is not one of ours.") from None
    place = found.container
    message_id = f"{place.channel_id}/{place.message_ts}" if place.channel_id and place.message_ts else ""
    return Click(
        found.user.id, approval_id, payload_hash, _DECISIONS[pressed.action_id], message_id, found.response_url
    )


class Clicks:
    """Takes clicks. `wake` asks for a pass over the notices; `notifier` None: nothing can be posted here."""

    def __init__(
        self,
        db: Database,
        decide: Decide,
        replies: Replies,
        notifier: Notifier | None,
        wake: Callable[[], None],
        *,
        answer_s: float,
    ) -> None:
        self._db, self._decide, self._replies, self._notifier = db, decide, replies, notifier
        self._wake, self._answer_s = wake, answer_s
        self._open: set[asyncio.Task[None]] = set()

    async def take(self, click: Click) -> None:
        """Return when the click is decided, or after `answer_s`: then the rest goes on behind. Raises Unavailable."""
        if len(self._open) >= MAX_OPEN:
            raise Unavailable("Too many clicks at once; try again shortly.")
        decided = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._one(click, decided), name="slack-click")
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            async with asyncio.timeout(self._answer_s):
                await decided.wait()
        except TimeoutError:
            log.info("slack_click_goes_on", approval_id=str(click.approval_id))

    async def close(self) -> None:
        """Let those that go on behind end, for `CLOSE_S` at most. What they decided stays decided."""
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _one(self, click: Click, decided: asyncio.Event) -> None:
        try:
            answer, facts = await self._judge(click)
        except Exception as exc:  # whoever clicked must hear of it, whatever it was
            CLICKS.labels("failed").inc()
            log.error("slack_click_failed", approval_id=str(click.approval_id), error=repr(exc), exc_info=_odd(exc))
            answer, facts = "This could not be recorded just now. Please click again in a moment.", None
        finally:
            decided.set()
        self._wake()
        await self._replies.tell(click.response_url, answer)
        if facts is not None:
            await self._refresh(click, facts)

    async def _judge(self, click: Click) -> tuple[str, Facts | None]:
        """What to tell, and the approval as it is after."""
        async with self._db.read() as connection:
            person = await queries.person(connection, click.approval_id, click.user_id)
        if person is None or person.caller is None:
            CLICKS.labels("unmapped").inc()
            return _stranger(click, person), None
        refusal = await self._decided(click, person.caller)
        CLICKS.labels("decided" if refusal is None else "refused").inc()
        async with self._db.read() as connection:
            facts = (await queries.facts(connection, {click.approval_id})).get(click.approval_id)
        if facts is None:
            return "This approval no longer exists.", None
        return tell(click, facts, refusal), facts

    async def _decided(self, click: Click, caller: Caller) -> Problem | None:
        """Why the word does not count; None: it does."""
        try:
            await self._decide(
                caller,
                click.approval_id,
                approve=click.approve,
                payload_hash=click.payload_hash,
                source=f"{SOURCE}:{click.user_id}",
            )
        except Problem as problem:
            if problem.status >= 500:
                raise
            return problem
        return None

    async def _refresh(self, click: Click, facts: Facts) -> None:
        """A message that a crash made us forget is updated here; those we know of, by the loop."""
        if self._notifier is None or facts.pending or not click.message_id:
            return
        try:
            async with self._db.read() as connection:
                known = await queries.shown_where(connection, click.approval_id)
            if click.message_id not in known:
                await self._notifier.update(Receipt("", click.message_id), message(facts))
        except (Undelivered, *DATABASE_AWAY) as exc:
            log.warning("slack_message_not_updated", approval_id=str(click.approval_id), error=str(exc))


def tell(click: Click, facts: Facts, refusal: Problem | None) -> str:
    """The answer to a click of somebody we know. `refusal`: why it did not count. Pure."""
    if refusal is None:
        return _counted(facts)
    if refusal.code == "approval_decided":
        return _late(click, facts)
    if refusal.code == "payload_changed":
        return "Not counted: the arguments were changed after this message was shown. Look at it again, then decide."
    return f"Not counted: {visible(refusal.detail)}"


def _counted(facts: Facts) -> str:
    action = visible(facts.action)
    if facts.pending:
        return f"Your approval of {action} counts: {facts.votes} of {facts.quorum} so far."
    return f"You decided: {action} is {_DONE.get(facts.status, facts.status)}."


def _late(click: Click, facts: Facts) -> str:
    if facts.status == "superseded":
        return "Too late: the task went on or ended, so this approval is no longer needed."
    if facts.status == "expired":
        return "Too late: this approval has expired."
    ended = _DONE.get(facts.status, facts.status)
    if facts.decided_from == f"{SOURCE}:{click.user_id}":
        return f"You have decided this already: it is {ended}."
    return f"Too late: this was already {ended} by {visible(facts.decided_by or 'somebody else')}."


def _stranger(click: Click, person: queries.Person | None) -> str:
    if person is None:
        return "This approval no longer exists."
    if person.mapped:
        return "Not counted: the API key that you act with was revoked or has expired. Ask an administrator."
    return (
        f"Not counted: you are not mapped to an API key of this tenant. Ask an administrator for "
        f"`PUT /v1/slack/users/{click.user_id}`."
    )


def _odd(exc: Exception) -> bool:
    """Whether a traceback helps."""
    return not isinstance(exc, (Problem, *DATABASE_AWAY))
