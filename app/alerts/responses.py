"""Automatic answers to alerts: what fires is answered as its rule says, and what is over is undone.

    alert_states ─┐
                  ├─▶ unanswered ──▶ claim, action.begin, account ──▶ running ──▶ over? ──▶ action.end, account
    alert_rules  ─┘                      one transaction                             one transaction

A pass looks at the tables, never at messages. The unique key of the accounts (rule, fingerprint, fired_at) makes one
answer of however many passes, leaders and retries; since an effect and its account commit together, a crash leaves both
or neither. What a person has ended stays ended for that instance: its account is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog
import uuid_utils

from app.alerts import action_queries as accounts
from app.alerts.action_queries import Unanswered
from app.alerts.actions.base import Action, ActionParams, Ask, Begun, NothingToDo
from app.alerts.actions.registry import KINDS, read_params
from app.alerts.answering import END_RETRY_S, INVESTIGATION, Answer, over, retry_s
from app.alerts.rule import BadRule
from app.alerts.telemetry import ACTIONS
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.core.leader import Leader
from app.limits import restraint_service, temporary
from app.scaling import raised

log = structlog.get_logger()

AT_ONCE, INVESTIGATIONS_AT_ONCE = 100, 2
"""So many alerts are answered in a pass. The next one sees first what is over by then, and what is quickly answered."""
FORGET_EVERY_S = 3600.0
MAX_DETAIL = 1000


class _Undone(Exception):
    """Takes a dry run back."""

    def __init__(self, begun: Begun) -> None:
        super().__init__()
        self.begun = begun


class Responses:
    """`tick` is the loop's pass; `end` undoes one answer, for whatever reason."""

    def __init__(
        self, db: Database, clock: Clock, leader: Leader, actions: Mapping[str, Action[Any]], *, keep_s: float
    ) -> None:
        self._db, self._clock, self._leader, self._actions, self._keep_s = db, clock, leader, actions, keep_s
        self._forgot_at: float | None = None

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            return None
        await self._end_what_is_over()
        async with self._db.read() as connection:
            alerts = await accounts.unanswered(connection, AT_ONCE)
        investigations = [alert for alert in alerts if alert.action == INVESTIGATION]
        left = len(alerts) == AT_ONCE or len(investigations) > INVESTIGATIONS_AT_ONCE
        for alert in alerts[: len(alerts) - len(investigations)] + investigations[:INVESTIGATIONS_AT_ONCE]:
            await self._answer(alert)
        await self._forget()
        return 0.0 if left else None

    async def _end_what_is_over(self) -> None:
        async with self._db.read() as connection:
            now = await connection.fetchval("SELECT clock_timestamp()")
            standing = await accounts.open_answers(connection)
        for item in standing:
            why = over(item.answer, firing=item.firing, cleared=item.cleared, rule_action=item.rule_action, now=now)
            if why is None:
                continue
            try:
                await self.end(item.answer, why)
            except Exception as exc:
                log.exception("action_not_ended", action=item.answer.action, id=str(item.answer.id))
                detail = f"Could not be ended ({why}): {exc!r}"[:MAX_DETAIL]
                async with self._db.hot() as connection:
                    await accounts.later(connection, item.answer.id, END_RETRY_S, detail)

    async def end(self, answer: Answer, by: str) -> bool:
        """Undo an answer and close its account; False where it was closed before."""
        async with self._db.hot() as connection, connection.transaction():
            status = await accounts.lock(connection, answer.id)
            if status is None:
                return False
            if status == "running":
                current = await accounts.answer(connection, answer.id)
                assert current is not None
                await self._actions[current.action].end(connection, current.ask(), current.facts, by)
            reach("responses.undone")
            await accounts.end(connection, [answer.id], by)
        log.info("action_ended", action=answer.action, rule=answer.rule, id=str(answer.id), by=by)
        ACTIONS.labels(answer.action, "ended").inc()
        return True

    async def _answer(self, alert: Unanswered) -> None:
        """One that fails holds up no other."""
        try:
            params = read_params(alert.action, alert.params)
        except (BadRule, KeyError) as exc:
            async with self._db.hot() as connection:
                await accounts.give_up(connection, new_id(), alert, f"The rule's parameters do not fit: {exc}")
            ACTIONS.labels(alert.action if alert.action in KINDS else "unknown", "failed").inc()
            return
        try:
            status, detail = await self._begin(alert, params)
        except Exception as exc:
            log.exception("action_failed", action=alert.action, rule=alert.rule)
            status, detail = await self._not_begun(alert, params, exc), repr(exc)
        if status is None:
            return
        ACTIONS.labels(alert.action, status).inc()
        log.warning("alert_answered", action=alert.action, rule=alert.rule, status=status, detail=detail[:200])

    async def _begin(self, alert: Unanswered, params: ActionParams) -> tuple[str | None, str]:
        """The account's status and what it says; None: somebody else was faster."""
        async with self._db.hot() as connection, connection.transaction():
            claimed = await accounts.claim(
                connection, new_id(), alert, until_resolved=params.until_resolved, duration_s=params.duration_s
            )
            if claimed is None:
                return None, ""
            reach("responses.claimed")
            status, begun = await self._act(connection, self._ask(alert, *claimed), alert.action, params)
            reach("responses.effect")
            await accounts.begun(connection, claimed[0], status, begun.scope, begun.facts, begun.detail[:MAX_DETAIL])
        reach("responses.committed")
        return status, begun.detail

    async def _act(self, connection: HotConnection, ask: Ask, name: str, params: ActionParams) -> tuple[str, Begun]:
        action = self._actions[name]
        try:
            async with connection.transaction():
                begun = await action.begin(connection, ask, params)
                if params.dry_run:
                    raise _Undone(begun)  # noqa: TRY301 - it undoes the savepoint
        except _Undone as undone:
            return "dry_run", undone.begun
        except NothingToDo as exc:
            return "skipped", Begun(str(exc), lasts=False)
        return "running" if begun.lasts else "done", begun

    @staticmethod
    def _ask(alert: Unanswered, action_id: UUID, expires_at: Any) -> Ask:
        return Ask(
            action_id,
            alert.rule,
            alert.fingerprint,
            alert.fired_at,
            alert.labels,
            expires_at,
            alert.value,
            alert.signal,
            alert.threshold,
        )

    async def _not_begun(self, alert: Unanswered, params: ActionParams, exc: Exception) -> str | None:
        async with self._db.hot() as connection:
            return await accounts.failed(
                connection,
                new_id(),
                alert,
                f"It did not work: {exc!r}"[:MAX_DETAIL],
                until_resolved=params.until_resolved,
                duration_s=params.duration_s,
                retry_s=retry_s(alert.tries + 1),
            )

    async def _forget(self) -> None:
        at = self._clock.monotonic()
        if self._forgot_at is not None and at - self._forgot_at < FORGET_EVERY_S:
            return
        async with self._db.hot() as connection:
            await accounts.forget(connection, self._keep_s)
            await restraint_service.sweep(connection, self._keep_s)
            await temporary.forget(connection, self._keep_s)
            await raised.forget(connection, self._keep_s)
        self._forgot_at = at


def new_id() -> UUID:
    """An id that rises with time (UUIDv7)."""
    return UUID(bytes=uuid_utils.uuid7().bytes)
