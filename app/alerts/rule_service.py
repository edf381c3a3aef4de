"""Verbs of alert rules. A change wakes whoever evaluates; what it means for instances is found there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from app.alerts import state_rows
from app.alerts.actions.registry import check_params
from app.alerts.explanation import Explained, explain
from app.alerts.matching import BadMatcher
from app.alerts.reader import Reader, concerned
from app.alerts.rule import BadRule, Mistake, Rule
from app.alerts.rule_spec import rule_of, spec_of
from app.alerts.signals.base import By, Signal
from app.alerts.state_rows import COLUMNS, StoredRule, stored
from app.auth.callers import Caller
from app.core.db import Database
from app.core.errors import Conflict, Invalid, NotFound
from app.core.jsonbody import dump_json
from app.core.wake import notify

log = structlog.get_logger()

TOPIC = "alert_rules"
MAX_RULES = 500

_PUT = f"""
INSERT INTO alert_rules AS r (name, spec, enabled, created_by, created_at, updated_at)
SELECT $1, $2::json, $3, $4, clock_timestamp(), clock_timestamp()
WHERE EXISTS (SELECT FROM alert_rules WHERE name = $1) OR (SELECT count(*) FROM alert_rules) < {MAX_RULES}
ON CONFLICT (name) DO UPDATE SET spec = EXCLUDED.spec, enabled = EXCLUDED.enabled, updated_at = EXCLUDED.updated_at,
  error = ''
RETURNING {COLUMNS}, xmax = 0 AS made
"""  # noqa: S608 - only constants
_GET = f"SELECT {COLUMNS} FROM alert_rules WHERE name = $1"  # noqa: S608
_PAGE = f"SELECT {COLUMNS} FROM alert_rules WHERE name > $1 ORDER BY name LIMIT $2"  # noqa: S608
_MISSING = "SELECT r FROM unnest($1::text[]) AS r WHERE r NOT IN (SELECT name FROM receivers) ORDER BY r"
_DELETE = f"DELETE FROM alert_rules WHERE name = $1 RETURNING {COLUMNS}"  # noqa: S608


class RuleNotFound(NotFound):
    code, title = "alert_rule_not_found", "No such alert rule"


class InvalidRule(Invalid):
    code, title = "invalid_alert_rule", "The alert rule cannot be"


class UnknownSignal(InvalidRule):
    code, title = "unknown_signal", "No such signal"


class TooManyRules(Conflict):
    code, title = "too_many_alert_rules", "Too many alert rules"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A rule and each of its instances."""

    rule: StoredRule
    instances: Sequence[Explained]


class Rules:
    """Set, read, delete and explain rules."""

    def __init__(self, db: Database, reader: Reader) -> None:
        self.db, self._reader = db, reader

    @property
    def signals(self) -> Mapping[str, Signal]:
        return self._reader.signals

    async def put(self, name: str, spec: Mapping[str, Any], *, enabled: bool, by: Caller) -> tuple[StoredRule, bool]:
        """Set a rule as a whole, and whether it is new. Raises InvalidRule with every mistake, UnknownSignal or
        TooManyRules."""
        rule = self._checked(name, spec)
        async with self.db.hot() as connection, connection.transaction():
            missing = [row["r"] for row in await connection.fetch(_MISSING, list(rule.receivers))]
            if missing:
                raise _invalid([Mistake("receivers", f"there is no receiver {', '.join(map(repr, missing))}")])
            row = await connection.fetchrow(_PUT, name, dump_json(spec_of(rule)), enabled, by.id)
            if row is None:
                raise TooManyRules(f"There are {MAX_RULES} rules already; delete one that is not needed.")
            await notify(connection, TOPIC, name)
        log.info("alert_rule_set", rule=name, by=by.id, new=row["made"])
        return stored(row), row["made"]

    async def get(self, name: str) -> StoredRule:
        """One rule; raises RuleNotFound."""
        async with self.db.read() as connection:
            row = await connection.fetchrow(_GET, name)
        if row is None:
            raise _missing(name)
        return stored(row)

    async def page(self, after: str, limit: int) -> list[StoredRule]:
        """By name."""
        async with self.db.read() as connection:
            return [stored(row) for row in await connection.fetch(_PAGE, after, limit)]

    async def delete(self, name: str, by: Caller) -> StoredRule:
        """What it was. Its instances are resolved at the next evaluation. Raises RuleNotFound."""
        async with self.db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_DELETE, name)
            if row is None:
                raise _missing(name)
            await notify(connection, TOPIC, name)
        log.info("alert_rule_deleted", rule=name, by=by.id)
        return stored(row)

    async def explain(self, name: str) -> Explanation:
        """A rule with each of its instances, judged by what its signal says now; nothing is written."""
        found = await self.get(name)
        rule = _valid(name, found.spec)
        read = await self._reader.read(rule)
        async with self.db.read() as connection:
            states = await state_rows.seen_states(connection, name)
        return Explanation(found, explain(rule, concerned(rule, read.readings), states))

    def _checked(self, name: str, spec: Mapping[str, Any]) -> Rule:
        rule = _valid(name, spec)
        signal = self.signals.get(rule.signal)
        if signal is None:
            try:
                rule.check_signal(self.signals)
            except BadRule as exc:
                raise UnknownSignal(f"{exc}.", extra=_errors(exc.mistakes)) from None
        elif (mistake := by_mistake(rule, signal)) is not None:
            raise _invalid([mistake])
        try:
            check_params(rule.action, rule.action_params)
        except BadRule as exc:
            raise _invalid(exc.mistakes) from None
        return rule


def _valid(name: str, spec: Mapping[str, Any]) -> Rule:
    """The rule; raises InvalidRule with every mistake."""
    try:
        return rule_of(name, spec)
    except BadRule as exc:
        raise _invalid(exc.mistakes) from None
    except BadMatcher as exc:
        raise _invalid([Mistake("matchers", str(exc))]) from None


def by_mistake(rule: Rule, signal: Signal) -> Mistake | None:
    """What is wrong with a rule's `by`, if its signal cannot be split so. One whose series have labels of their own
    takes the default only, which then means nothing."""
    dimension = By.of(rule.by).dimension
    if dimension in signal.by or (not signal.by and dimension == "pool"):
        return None
    can = ", ".join(f"{name}:KEY" if name == "label" else name for name in sorted(signal.by))
    return Mistake(
        "by", f"{signal.name} can be by {can}" if can else f"{signal.name} has series of its own: leave it out"
    )


def _invalid(mistakes: Sequence[Mistake]) -> InvalidRule:
    return InvalidRule("; ".join(map(str, mistakes))[:1000], extra=_errors(mistakes))


def _errors(mistakes: Sequence[Mistake]) -> dict[str, object]:
    return {"errors": [{"path": item.where, "message": item.reason} for item in mistakes]}


def _missing(name: str) -> RuleNotFound:
    return RuleNotFound(f"There is no alert rule {name!r}.")
