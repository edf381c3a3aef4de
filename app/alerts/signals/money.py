"""Signals of what work consumes: tokens and money of the last hour, how full budgets are, what has no price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import orjson

from app.alerts.reading import Reading, Sample, Unanswered
from app.alerts.signals.base import By, Dimension, Read, Signal
from app.alerts.signals.series import grouped, labels_of, split
from app.core.db import HotConnection
from app.costs import accounts
from app.costs.budget_view import COLUMNS
from app.costs.records import BudgetRecord

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_SERIES = {"pool": "pool", "tenant": "tenant", "label": "labels ->> $3::text"}

ACCOUNTS_OF_A_BUDGET = 1_001
MAX_ACCOUNTS = 20_000
"""Accounts looked at: the fullest of each budget, one more than a rule may have instances; and of all budgets."""

_BUDGETS = f"SELECT {COLUMNS} FROM budgets"  # noqa: S608 - only constants
_UNPRICED = "SELECT coalesce(sum(unpriced), 0)::float8 FROM usage_hours WHERE hour > $1"


def usage_statement(dimension: Dimension, amount: str) -> str:
    """By series: the sum of an amount over usage from $1 to $2; of probes none."""
    return f"""
SELECT {_SERIES[dimension]} AS series, coalesce(sum({amount}), 0)::float8 AS amount FROM usage
WHERE at > $1 AND at <= $2 AND NOT synthetic {grouped(dimension)}
"""  # noqa: S608 - only constants


def _per_hour(amount: str) -> Read:
    async def read(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
        found = await split(connection, by, usage_statement(by.dimension, amount), now - _HOUR, now)
        return [
            Sample(labels_of(by, name), 0.0 if row is None else row["amount"], at=now) for name, row in found.items()
        ]

    return read


async def budget_burn(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Of each open account, what is spent and reserved as a share of the limit. Labels: budget, key where there is
    one, and the pool and tenant that the budget is about."""
    budgets = [
        BudgetRecord.of({**dict(row), "thresholds": orjson.loads(row["thresholds"])})
        for row in await connection.fetch(_BUDGETS)
    ]
    current = await accounts.current(connection, budgets, now, ACCOUNTS_OF_A_BUDGET)
    if sum(map(len, current.values())) > MAX_ACCOUNTS:
        raise ValueError(f"budgets have more than {MAX_ACCOUNTS} open accounts")
    return [
        Sample(_budget_labels(budget, account.key), float(account.committed / account.limit), at=now)
        for budget in budgets
        for account in current[budget.id]
    ]


def _budget_labels(budget: BudgetRecord, key: str) -> dict[str, str]:
    scope = budget.scope
    found = {"budget": budget.name, "key": key, "pool": scope.pool, "tenant": scope.tenant}
    return {name: value for name, value in found.items() if value}


async def unpriced_usage(connection: HotConnection, by: By, now: datetime) -> Sequence[Reading]:
    """Rows of usage of the last day whose model has no price, as the roll-up counts them."""
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM usage_rolled)"):
        return [Unanswered({}, "no_data", "usage has not been rolled up yet")]
    return [Sample({}, await connection.fetchval(_UNPRICED, now - _DAY), at=now)]


_ALL: frozenset[Dimension] = frozenset({"pool", "tenant", "label"})

SIGNALS = (
    Signal("tokens_per_hour", "tokens", "Tokens of the last hour.", _per_hour("input_tokens + output_tokens"), _ALL),
    Signal("cost_per_hour", "USD", "What the last hour cost, as far as prices are known.", _per_hour("cost_usd"), _ALL),
    Signal("budget_burn", "share", "What is committed of each open account of a budget: 1 is its limit.", budget_burn),
    Signal("unpriced_usage", "rows", "Usage of the last day of models without a price.", unpriced_usage),
)
