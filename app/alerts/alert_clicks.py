"""Clicks on the buttons of alerts in Slack: take a group, or silence it for an hour.

As with approvals every click is answered, also the late, the doubled and the unauthorised one. Alerts are of the
installation: only who is mapped to a key with the scope `admin`, of whichever tenant, may act on them.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import structlog

from app.alerts.clicks import CLOSE_S, MAX_OPEN, Interaction
from app.alerts.group_service import GroupRecord, Groups, matchers_of
from app.alerts.matching import text_of
from app.alerts.notification_api import GROUP_KEY
from app.alerts.notifiers.slack_alert_message import ACKNOWLEDGE, SILENCE
from app.alerts.question import visible
from app.alerts.replies import Replies
from app.alerts.silence_service import Silences, SilenceSpec
from app.alerts.telemetry import CLICKS
from app.core.db import Database
from app.core.errors import Problem, Unavailable
from app.core.http import DATABASE_AWAY

log = structlog.get_logger()

ACK_S = 14_400.0
SILENCE_FOR = timedelta(hours=1)
SCOPE = "admin"

type Verb = Literal["acknowledge", "silence"]

_VERBS: dict[str, Verb] = {ACKNOWLEDGE: "acknowledge", SILENCE: "silence"}
_PERSON = """
SELECT k.id, k.name, k.scopes FROM slack_users u JOIN api_keys k ON k.id = u.key_id AND k.tenant = u.tenant
WHERE u.user_id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
ORDER BY $2 = ANY(k.scopes) DESC, u.tenant LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class AlertClick:
    """One click. `key` is the group's, as the button carried it."""

    user_id: str
    verb: Verb
    key: str
    response_url: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who a Slack user is."""

    key_id: str
    name: str
    may: bool


def read(found: Interaction) -> list[AlertClick]:
    """The clicks on buttons of alerts. Pure."""
    return [
        AlertClick(found.user.id, _VERBS[pressed.action_id], pressed.value, found.response_url)
        for pressed in found.actions
        if pressed.action_id in _VERBS
    ]


class AlertClicks:
    """Takes clicks; `close()` at the end."""

    def __init__(self, db: Database, groups: Groups, silences: Silences, replies: Replies, *, answer_s: float) -> None:
        self._db, self._groups, self._silences, self._replies = db, groups, silences, replies
        self._answer_s = answer_s
        self._open: set[asyncio.Task[None]] = set()

    async def take(self, click: AlertClick) -> None:
        """Return when it is done, or after `answer_s`: then the rest goes on behind. Raises Unavailable."""
        if len(self._open) >= MAX_OPEN:
            raise Unavailable("Too many clicks at once; try again shortly.")
        done = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._one(click, done), name="slack-alert-click")
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            async with asyncio.timeout(self._answer_s):
                await done.wait()
        except TimeoutError:
            log.info("slack_click_goes_on", group=click.key)

    async def close(self) -> None:
        """Let those that go on behind end, for `CLOSE_S` at most."""
        if self._open:
            _, late = await asyncio.wait(self._open, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _one(self, click: AlertClick, done: asyncio.Event) -> None:
        try:
            answer = await self._judge(click)
        except Exception as exc:  # whoever clicked must hear of it, whatever it was
            CLICKS.labels("failed").inc()
            known = isinstance(exc, (Problem, *DATABASE_AWAY))
            log.error("slack_click_failed", group=click.key, error=repr(exc), exc_info=not known)
            answer = "This could not be recorded just now. Please click again in a moment."
        finally:
            done.set()
        await self._replies.tell(click.response_url, answer)

    async def _judge(self, click: AlertClick) -> str:
        """What to tell."""
        person = await self._person(click.user_id)
        if person is None or not person.may:
            CLICKS.labels("unmapped").inc()
            return _stranger(click, person)
        try:
            answer = await (self._acknowledge if click.verb == "acknowledge" else self._silence)(click, person)
        except Problem as problem:
            if problem.status >= 500:
                raise
            CLICKS.labels("refused").inc()
            return f"Not counted: {visible(problem.detail)}"
        CLICKS.labels("decided").inc()
        return answer

    async def _person(self, user_id: str) -> Person | None:
        async with self._db.read() as connection:
            row = await connection.fetchrow(_PERSON, user_id, SCOPE)
        return None if row is None else Person(row["id"], row["name"], SCOPE in row["scopes"])

    async def _acknowledge(self, click: AlertClick, person: Person) -> str:
        group, now = await self._groups.get(_key(click))
        if group.acked(now):
            owner = group.row["acked_by"]
            return (
                "You have taken this already." if owner == person.name else f"{visible(owner)} has taken this already."
            )
        await self._groups.acknowledge(group.key, person.key_id, ACK_S, "")
        return f"You have taken {_named(group)} for {ACK_S / 3600:g} hours. New alerts in it are told all the same."

    async def _silence(self, click: AlertClick, person: Person) -> str:
        group, now = await self._groups.get(_key(click))
        matchers = matchers_of(group)
        for silence in (await self._silences.page("active", None, 500))[0]:
            if sorted(map(text_of, silence.matchers)) == sorted(matchers):
                return f"{_named(group)} is silenced already, until {silence.ends_at:%H:%M} UTC."
        comment = f"Silenced in Slack by {click.user_id}"
        made, _ = await self._silences.create(SilenceSpec(matchers, now + SILENCE_FOR, None, comment), person.key_id)
        return f"{_named(group)} is silenced until {made.ends_at:%H:%M} UTC, for every receiver: {', '.join(matchers)}."


def _key(click: AlertClick) -> str:
    """What is no key of ours names no group."""
    return click.key if re.fullmatch(GROUP_KEY, click.key) else ""


def _named(group: GroupRecord) -> str:
    return visible(" ".join(f"{name}={value}" for name, value in sorted(group.labels.items())) or "This group")


def _stranger(click: AlertClick, person: Person | None) -> str:
    if person is not None:
        return f"Not counted: the API key that you act with does not hold the scope `{SCOPE}`."
    return (
        f"Not counted: you are not mapped to an API key, or yours has ended. Ask an administrator for "
        f"`PUT /v1/slack/users/{click.user_id}`."
    )
