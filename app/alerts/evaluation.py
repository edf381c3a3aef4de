"""The evaluation of alert rules, under one leader.

    signals ──reader──▶ readings ──concerned──▶ judge(rule, readings, states) ──▶ states, transitions ──▶ wake `alerts`

Each signal is read once a pass, each rule judged in a transaction of its own that locks its row first and reads its
states after that. What it is judged by is at most as new as `evaluated_at`: a manager that still holds older readings,
because it was frozen or believed to lead, finds that a newer evaluation has been and writes nothing. So timers run once
and a change of phase is written once, however many evaluate.

Time is the database's. Set back, it lies before `evaluated_at` till it has caught up: then evaluations go on, and the
instances' own times keep them from starting anew (see state.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from app.alerts import state_rows
from app.alerts.decide import judge
from app.alerts.matching import BadMatcher
from app.alerts.reader import MAX_INSTANCES, Read, Reader, concerned, error, error_in
from app.alerts.reading import Reading
from app.alerts.records import fingerprint
from app.alerts.rule import BadRule, Rule
from app.alerts.rule_spec import rule_of
from app.alerts.signals.base import Memo
from app.alerts.state import State
from app.alerts.state_rows import StoredRule
from app.alerts.telemetry import ALERTS, EVALUATED, EVALUATION_ERRORS
from app.core.clock import Clock
from app.core.db import Database, HotConnection
from app.core.failpoints import reach
from app.core.http import DATABASE_AWAY
from app.core.leader import Leader
from app.core.wake import notify

log = structlog.get_logger()

TOPIC = "alerts"
"""Notified when a phase has changed."""

PURGE_EVERY_S = 600.0
AT_ONCE = 100
"""Series and instances that are judged here. More of them take long enough that others would wait: a thread does it."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What was read in it, by signal and what it is split by."""

    reads: dict[tuple[str, str], Read]
    memo: Memo


class Evaluation:
    """One tick: every enabled rule, then the instances that have lost their rule, then what is too old."""

    def __init__(self, db: Database, leader: Leader, clock: Clock, reader: Reader, keep_s: float) -> None:
        self._db, self._leader, self._clock, self._reader, self._keep_s = db, leader, clock, reader, keep_s
        self._purge_at = 0.0

    async def tick(self) -> float | None:
        if not await self._leader.leads():
            ALERTS.clear()
            return None
        with EVALUATED.time():
            await self.run()
        if self._clock.monotonic() >= self._purge_at and await self.purge():
            self._purge_at = self._clock.monotonic() + PURGE_EVERY_S
        return None

    async def run(self) -> None:
        """Evaluate every rule once."""
        async with self._db.read() as connection:
            rules = await state_rows.rules(connection)
        found = _Pass({}, {})
        for stored in rules:
            if stored.enabled:
                await self._survive(stored, found)
        async with self._db.read() as connection:
            orphaned = await state_rows.orphaned(connection)
        for name in orphaned:
            await self._resolve(name)
        await self._measure()

    async def purge(self) -> bool:
        """Forget transitions of long ago, one batch; whether none are left."""
        async with self._db.hot() as connection:
            return await state_rows.purge(connection, self._keep_s)

    async def _survive(self, stored: StoredRule, found: _Pass) -> None:
        """A rule that cannot be judged is its own trouble, and no other's."""
        try:
            await self._evaluate(stored, found)
        except DATABASE_AWAY:
            raise
        except Exception as exc:
            EVALUATION_ERRORS.labels("rule").inc()
            expected = isinstance(exc, BadRule | BadMatcher)
            text = f"the rule is not valid: {exc}" if expected else f"{type(exc).__name__}: {exc}"
            if text != stored.error:
                log.error("rule_not_evaluated", rule=stored.name, error=text, exc_info=not expected)
            async with self._db.hot() as connection:
                await state_rows.note(connection, stored.name, text)

    async def _evaluate(self, stored: StoredRule, found: _Pass) -> None:
        rule = rule_of(stored.name, stored.spec)
        key = (rule.signal, rule.by)
        if key not in found.reads:
            found.reads[key] = await self._reader.read(rule, found.memo)
        reach("alerts.read")
        async with self._db.hot() as connection, connection.transaction():
            await evaluate(connection, stored.name, found.reads[key])
            reach("alerts.judged")

    async def _resolve(self, name: str) -> None:
        async with self._db.hot() as connection, connection.transaction():
            await resolve(connection, name)

    async def _measure(self) -> None:
        async with self._db.read() as connection:
            counts = await state_rows.counts(connection)
        ALERTS.clear()
        for rule, phase, count in counts:
            ALERTS.labels(rule, phase).set(count)


async def evaluate(connection: HotConnection, name: str, read: Read) -> bool:
    """Judge one rule by what its signal said, in the caller's transaction; whether it was. It is not where the rule is
    gone, disabled or of another signal by now, or was judged by something newer."""
    stored = await state_rows.lock_rule(connection, name)
    if stored is None or not stored.enabled:
        return False
    rule = rule_of(name, stored.spec)
    if (rule.signal, rule.by) != (read.signal, read.by) or _passed(stored, read):
        return False
    before = await state_rows.states(connection, name)
    readings = concerned(rule, read.readings)
    if _too_many(rule, readings, before):
        readings = error(f"more than {MAX_INSTANCES} instances, with those that it keeps though they have vanished")
    if len(readings) == 1 and error_in(readings) and not error_in(read.readings):
        EVALUATION_ERRORS.labels("series").inc()
    judged = partial(judge, rule, readings, before, read.at)
    few = len(readings) + len(before) <= AT_ONCE
    after, transitions = judged() if few else await asyncio.to_thread(judged)
    after = {key: state for key, state in after.items() if not state.outlived(read.at)}
    by_instance = {fingerprint(rule.instance_labels(item.labels)): item for item in readings}
    await state_rows.write(connection, name, before, after, by_instance, transitions)
    await state_rows.note(connection, name, error_in(readings), read.at)
    if transitions:
        await notify(connection, TOPIC, name)
    return True


async def resolve(connection: HotConnection, name: str) -> None:
    """Resolve every instance of a rule that is gone or disabled, in the caller's transaction."""
    stored = await state_rows.lock_rule(connection, name)
    if stored is not None and stored.enabled:
        return
    before = await state_rows.states(connection, name)
    now = await state_rows.time(connection)
    after, transitions = state_rows.ended(before, now)
    await state_rows.write(connection, name, before, after, {}, transitions)
    if transitions:
        await notify(connection, TOPIC, name)


def _passed(stored: StoredRule, read: Read) -> bool:
    """Whether it was judged by something newer. What lies after the present is from before the clock was set back."""
    return stored.evaluated_at is not None and read.at <= stored.evaluated_at <= stored.now


def _too_many(rule: Rule, readings: Sequence[Reading], before: Mapping[str, State]) -> bool:
    instances = {fingerprint(rule.instance_labels(item.labels)) for item in readings}
    return len(instances | before.keys()) > MAX_INSTANCES + 1  # one may stand for the whole signal
