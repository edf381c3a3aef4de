"""What one manager has for approvals in Slack, without the tasks: real approvals, real HTTP to a Slack and to us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from app.alerts import api
from app.alerts.approvals import ApprovalNotices
from app.alerts.clicks import Clicks, Decide
from app.alerts.directory import Directory
from app.alerts.notifiers.slack import SlackNotifier
from app.alerts.replies import Replies
from app.alerts.signature import Verifier
from app.approvals.hooks import Decided
from app.approvals.opening import Question, open_many, supersede
from app.approvals.policy import Policy
from app.approvals.service import Approvals
from app.auth.edge import Edge
from app.auth.service import Authenticator, Keys
from app.core.db import Database, HotConnection
from app.core.http import add_error_handlers
from app.settings import AuthSettings, DatabaseSettings, SlackSettings
from tests.core.database import HandClock
from tests.support.slack_server import SECRET, TOKEN, Posted, SlackServer
from tests.support.waiting import until_async


class Tasks:
    """The tasks' side of approvals: every task waits; `decided` and `recorded` keep what became of them."""

    def __init__(self) -> None:
        self.decided_: list[Decided] = []
        self.recorded: list[str] = []

    async def lock(self, connection: HotConnection, task_id: UUID) -> str | None:
        return "waiting"

    async def record(self, connection: HotConnection, task_id: UUID, event_type: str, data: dict[str, Any]) -> None:
        self.recorded.append(event_type)

    async def decided(self, connection: HotConnection, decided: Decided) -> None:
        self.decided_.append(decided)

    def committed(self, task_ids: Collection[UUID], pools: Collection[str]) -> None:
        pass


@dataclass
class Room:
    """`wakes` counts how often a click asked for a pass over the notices."""

    db: Database
    slack: SlackServer
    clock: HandClock
    notifier: SlackNotifier
    notices: ApprovalNotices
    approvals: Approvals
    tasks: Tasks
    clicks: Clicks
    keys: Keys
    client: httpx.AsyncClient
    settings: SlackSettings
    wakes: list[None] = field(default_factory=list)

    async def ask(
        self, action: str = "shell", args: Any = None, *, tenant: str = "default", pool: str = "ops", **policy: Any
    ) -> UUID:
        """A pending approval; its id."""
        text = json.dumps({"cmd": "ls"} if args is None else args)
        submitter = policy.pop("submitted_by", "submitter0")
        risk, expires_s = policy.pop("risk", None), policy.pop("expires_s", 3600.0)
        values = {**policy, "groups": tuple(policy.get("groups", ()))}
        question = Question(
            uuid4(), tenant, pool, "action", "s1", action, text, submitter, Policy(expires_s, **values), risk
        )
        async with self.db.hot() as connection, connection.transaction():
            opened = await open_many(connection, [question])
        return opened[question.task_id].id

    async def posted(self, *args: Any, **fields: Any) -> tuple[UUID, Posted]:
        """A pending approval, and the message about it."""
        approval_id = await self.ask(*args, **fields)
        await self.notices.tick()
        return approval_id, self.slack.posted[-1]

    async def person(self, user_id: str, *scopes: str, tenant: str = "default", groups: Sequence[str] = ()) -> str:
        """A Slack user mapped to a key of their own; the key's id."""
        info, _ = await self.keys.create(
            user_id.lower(), tenant, list(scopes or ("approvals:decide",)), groups=list(groups)
        )
        await Directory(self.db).put_user(tenant, user_id, info.id)
        return info.id

    async def press(self, message: Posted, action_id: str, user: str) -> httpx.Response:
        """A click, and what Slack is answered."""
        body, headers = self.slack.press(message, action_id, user, at=self.now)
        return await self.send(body, headers)

    async def send(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self.client.post("/v1/slack/interactions", content=body, headers=headers)

    @property
    def now(self) -> float:
        return self.clock.now().timestamp()

    async def told(self, count: int = 1) -> list[str]:
        """What those who clicked were told, once there are so many answers."""

        async def enough() -> list[str] | None:
            return [str(reply["text"]) for reply in self.slack.replies] if len(self.slack.replies) >= count else None

        return await until_async(enough, f"{count} replies") or []

    async def status(self, approval_id: UUID) -> str:
        return str(await self.sql("SELECT status FROM approvals WHERE id = $1", approval_id))

    async def notice(self, approval_id: UUID) -> Any:
        """The row of its only notice."""
        async with self.db.hot() as connection:
            return await connection.fetchrow("SELECT * FROM approval_notices WHERE approval_id = $1", approval_id)

    async def sql(self, statement: str, *args: Any) -> Any:
        async with self.db.hot() as connection:
            return await connection.fetchval(statement, *args)

    async def due(self) -> None:
        """Every notice may be tried again now."""
        await self.sql("UPDATE approval_notices SET due_at = now()")

    async def supersede(self, approval_id: UUID) -> None:
        async with self.db.hot() as connection, connection.transaction():
            task_id = await connection.fetchval("SELECT task_id FROM approvals WHERE id = $1", approval_id)
            await supersede(connection, [task_id], "The task was cancelled.")


def settings_of(slack: SlackServer, **fields: Any) -> SlackSettings:
    values = {"token": SecretStr(TOKEN), "signing_secret": SecretStr(SECRET), "api_url": slack.api_url}
    return SlackSettings(**{**values, "channel": "#approvals", "timeout_s": 5.0, **fields})


@asynccontextmanager
async def room_of(
    database_url: str, slack: SlackServer, clock: HandClock, *, decide: Decide | None = None, **fields: Any
) -> AsyncIterator[Room]:
    """`decide` stands in for the approvals' own; `fields` are settings of Slack."""
    db = Database(DatabaseSettings(url=database_url, hot_connections=8, cold_connections=4))
    await db.start()
    settings = settings_of(slack, **fields)
    notifier, replies = SlackNotifier(settings), Replies(settings, try_again_s=(0.0, 0.0))
    tasks, wakes = Tasks(), list[None]()
    approvals = Approvals(db, tasks)
    clicks = Clicks(
        db, decide or approvals.decide, replies, notifier, lambda: wakes.append(None), answer_s=settings.answer_s
    )
    authenticator = Authenticator(db, AuthSettings(pepper=SecretStr("p" * 32)), clock)
    app = FastAPI()
    add_error_handlers(app)
    app.include_router(api.router(Directory(db), Edge(authenticator)))
    app.include_router(api.interactions_router(Verifier(settings.signing_secret.get_secret_value(), clock), clicks))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    await notifier.open()
    await replies.open()
    async with httpx.AsyncClient(transport=transport, base_url="http://yard", timeout=30) as client:
        yield Room(
            db,
            slack,
            clock,
            notifier,
            ApprovalNotices(db, clock, notifier, settings),
            approvals,
            tasks,
            clicks,
            Keys(db, authenticator),
            client,
            settings,
            wakes,
        )
        await clicks.close()
    await replies.close()
    await notifier.close()
    await db.stop()
