"""Verbs of inhibitions and of mute times: rules that hold notifications back. Of the installation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.alerts.inhibition import InhibitRule, check_rule
from app.alerts.intervals import parse_interval
from app.alerts.matching import BadMatcher, parse_matcher, text_of
from app.alerts.mute_times import BadInterval
from app.alerts.notification_loop import TOPIC
from app.alerts.receiver_service import matchers_refused
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound
from app.core.jsonbody import dump_json
from app.core.wake import notify

MAX_INHIBIT_RULES = 200
MAX_MUTE_TIMES = 200

_PUT_RULE = """
INSERT INTO inhibit_rules (name, source, target, equal)
SELECT $1, $2, $3, $4 WHERE EXISTS (SELECT FROM inhibit_rules WHERE name = $1)
  OR (SELECT count(*) FROM inhibit_rules) < $5
ON CONFLICT (name) DO UPDATE SET source = EXCLUDED.source, target = EXCLUDED.target, equal = EXCLUDED.equal,
  updated_at = now()
RETURNING xmax = 0 AS new
"""
_RULE = "SELECT name, source, target, equal FROM inhibit_rules WHERE name = $1"
_RULES = (
    "SELECT name, source, target, equal FROM inhibit_rules WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2"
)
_PUT_MUTE = """
INSERT INTO mute_times (name, intervals)
SELECT $1, $2 WHERE EXISTS (SELECT FROM mute_times WHERE name = $1) OR (SELECT count(*) FROM mute_times) < $3
ON CONFLICT (name) DO UPDATE SET intervals = EXCLUDED.intervals, updated_at = now()
RETURNING xmax = 0 AS new
"""
_MUTE = "SELECT name, intervals FROM mute_times WHERE name = $1"
_MUTES = "SELECT name, intervals FROM mute_times WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2"
_USED = "SELECT name FROM receivers WHERE $1 = ANY(mute_times) OR $1 = ANY(active_times) ORDER BY name LIMIT 1"


class InhibitRuleNotFound(NotFound):
    code, title = "inhibit_rule_not_found", "No such inhibition"


class MuteTimeNotFound(NotFound):
    code, title = "mute_time_not_found", "No such mute time"


class TooManyHoldingRules(Conflict):
    code, title = "too_many_rules", "Too many rules"


class MuteTimeInUse(Conflict):
    code, title = "mute_time_in_use", "A receiver uses it"


class BadMuteTime(Invalid):
    code, title = "bad_mute_time", "Bad mute time"


@dataclass(frozen=True, slots=True)
class MuteTimeRecord:
    """`intervals` as they were written."""

    name: str
    intervals: list[dict[str, Any]]


class Holding:
    """The verbs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put_rule(
        self, name: str, source: Sequence[str], target: Sequence[str], equal: Sequence[str]
    ) -> tuple[InhibitRule, bool]:
        """Set an inhibition; whether it is new. Raises MatchersRefused or TooManyHoldingRules."""
        rule = inhibit_rule(name, source, target, equal)
        async with self._db.hot() as connection, connection.transaction():
            values = (list(map(text_of, rule.source)), list(map(text_of, rule.target)), list(rule.equal))
            new = await connection.fetchval(_PUT_RULE, name, *values, MAX_INHIBIT_RULES)
            if new is None:
                raise TooManyHoldingRules(f"There are {MAX_INHIBIT_RULES} inhibitions already.")
            await notify(connection, TOPIC)
        return rule, bool(new)

    async def rule(self, name: str) -> InhibitRule:
        """Raises InhibitRuleNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_RULE, name)
        if row is None:
            raise InhibitRuleNotFound(f"There is no inhibition {name!r}.")
        return inhibit_rule(*row)

    async def rules(self, after: str | None, limit: int) -> list[InhibitRule]:
        """By name."""
        async with self._db.read() as connection:
            return [inhibit_rule(*row) for row in await connection.fetch(_RULES, after, limit)]

    async def delete_rule(self, name: str) -> None:
        """Raises InhibitRuleNotFound."""
        async with self._db.hot() as connection:
            gone = await connection.fetchval("DELETE FROM inhibit_rules WHERE name = $1 RETURNING name", name)
        if gone is None:
            raise InhibitRuleNotFound(f"There is no inhibition {name!r}.")

    async def put_mute_time(self, name: str, intervals: Sequence[Mapping[str, Any]]) -> tuple[MuteTimeRecord, bool]:
        """Set a mute time; whether it is new. Raises BadMuteTime or TooManyHoldingRules."""
        for place, interval in enumerate(intervals):
            try:
                parse_interval(interval)
            except BadInterval as error:
                errors = [{"path": f"intervals.{place}", "message": str(error)}]
                raise BadMuteTime(f"intervals.{place}: {error}.", extra={"errors": errors}) from None
        made = MuteTimeRecord(name, [dict(item) for item in intervals])
        async with self._db.hot() as connection, connection.transaction():
            new = await connection.fetchval(_PUT_MUTE, name, dump_json(made.intervals), MAX_MUTE_TIMES)
            if new is None:
                raise TooManyHoldingRules(f"There are {MAX_MUTE_TIMES} mute times already.")
            await notify(connection, TOPIC)
        return made, bool(new)

    async def mute_time(self, name: str) -> MuteTimeRecord:
        """Raises MuteTimeNotFound."""
        async with self._db.read() as connection:
            row = await connection.fetchrow(_MUTE, name)
        if row is None:
            raise MuteTimeNotFound(f"There is no mute time {name!r}.")
        return MuteTimeRecord(row["name"], orjson.loads(row["intervals"]))

    async def mute_times(self, after: str | None, limit: int) -> list[MuteTimeRecord]:
        """By name."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_MUTES, after, limit)
        return [MuteTimeRecord(row["name"], orjson.loads(row["intervals"])) for row in rows]

    async def delete_mute_time(self, name: str) -> None:
        """Raises MuteTimeNotFound or MuteTimeInUse."""
        async with self._db.hot() as connection, connection.transaction():
            if user := await connection.fetchval(_USED, name):
                raise MuteTimeInUse(f"The receiver {user!r} uses it; change that one first.")
            gone = await connection.fetchval("DELETE FROM mute_times WHERE name = $1 RETURNING name", name)
        if gone is None:
            raise MuteTimeNotFound(f"There is no mute time {name!r}.")


def inhibit_rule(name: str, source: Sequence[str], target: Sequence[str], equal: Sequence[str]) -> InhibitRule:
    """The rule, checked. Raises MatchersRefused. Pure."""
    try:
        return check_rule(
            InhibitRule(name, tuple(map(parse_matcher, source)), tuple(map(parse_matcher, target)), tuple(equal))
        )
    except BadMatcher as error:
        raise matchers_refused(error, "matchers") from None
