"""Who gets money: judgement over asks and the accounts they touch. Pure; whoever calls holds the accounts' locks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from app.costs.records import HARD, BudgetRecord, Threshold

ZERO = Decimal(0)
type Why = Literal["exhausted", "approval", "throttled"]


@dataclass(slots=True)
class Account:
    """One account as it was locked, in its budget's unit. `committed` is spent + reserved, and grows with what is
    granted; so does `paced_until`, the theoretical arrival time of a throttled scope."""

    id: UUID
    budget: BudgetRecord
    limit: Decimal
    committed: Decimal
    window_end: datetime | None = None
    paced_until: datetime | None = None

    def active(self, action: str) -> list[Threshold]:
        """Thresholds with this action that what is committed has reached, lowest first."""
        return [item for item in self._of(action) if self.committed >= self._at(item)]

    def cap(self, actions: Iterable[str]) -> Decimal | None:
        """Least amount at which one of these actions sets in; None: at none."""
        return min((self._at(item) for action in actions for item in self._of(action)), default=None)

    def room(self) -> Decimal | None:
        """What may still be granted without asking people; None: there is no bound."""
        cap = self.cap((*HARD, "require_approval"))
        return None if cap is None else cap - self.committed

    def pace(self) -> timedelta | None:
        """The time between two starts by its strictest throttle that is active; None: there is none."""
        rates = [item.per_minute for item in self.active("throttle") if item.per_minute]
        return min(timedelta(days=1), timedelta(seconds=60 / max(min(rates), 1 / 1440))) if rates else None

    def _of(self, action: str) -> list[Threshold]:
        return sorted((item for item in self.budget.thresholds if item.action == action), key=lambda item: item.percent)

    def _at(self, threshold: Threshold) -> Decimal:
        return self.limit * threshold.percent / 100


@dataclass(frozen=True, slots=True)
class Ask:
    """What a task wants to start: the amount it is expected to take of each account. `own`: what an attempt of it that
    was broken off still holds there. `over`: people agreed to its start, past thresholds that ask them."""

    task_id: UUID
    needs: Mapping[UUID, Decimal]
    own: Mapping[UUID, Decimal] = field(default_factory=dict)
    over: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """It may start: `holds` is reserved. `models`: which models to take instead of which."""

    task_id: UUID
    holds: Mapping[UUID, Decimal]
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """Which account had no room, for what reason, how much was needed and left, and until when that surely is so.

    `more`: what was needed beyond what the task still holds there.
    """

    task_id: UUID
    account: Account
    why: Why
    need: Decimal
    left: Decimal
    until: datetime | None
    more: Decimal = ZERO


def bound(budget: BudgetRecord) -> Decimal | None:
    """Up to this amount a budget at most tells of it; None: it never does more."""
    return min(
        (budget.limit * item.percent / 100 for item in budget.thresholds if item.action != "notify"), default=None
    )


def shown(amount: Decimal) -> str:
    """An amount in a sentence: no exponent, no zeros at its end."""
    return f"{amount.normalize() + 0:f}"


def grant(accounts: Mapping[UUID, Account], asks: Sequence[Ask], now: datetime) -> list[Granted | Refused]:
    """Judge the asks in their order; what is granted is committed before the next is looked at.

    An ask is granted if each account that it touches has room for it: a refused one takes nothing, so nothing is
    refused that what is left would cover. Those whom an account's pace keeps waiting are told one time after the other,
    a pace apart, so that they do not all come back for one place.
    """
    verdicts: list[Granted | Refused] = []
    waiting: Counter[UUID] = Counter()
    for ask in asks:
        touched = [accounts[account_id] for account_id in ask.needs]
        refused = next((found for account in touched if (found := _refusal(account, ask, now)) is not None), None)
        if refused is not None:
            verdicts.append(_turn(refused, waiting) if refused.why == "throttled" else refused)
            continue
        models: dict[str, str] = {}
        for account in touched:
            for threshold in account.active("downgrade"):
                models.update(threshold.models)
        for account in touched:
            _commit(account, ask, now)
        verdicts.append(Granted(ask.task_id, ask.needs, models))
    return verdicts


def _refusal(account: Account, ask: Ask, now: datetime) -> Refused | None:
    need, own = ask.needs[account.id], ask.own.get(account.id, ZERO)
    if _spared(account, need):
        return None
    after = account.committed - own + need
    caps: list[tuple[Why, Decimal | None]] = [("exhausted", account.cap(HARD))]
    if not ask.over:
        caps.append(("approval", account.cap(("require_approval",))))
    for why, cap in caps:
        if cap is not None and after > cap:
            left = max(ZERO, cap - account.committed + own)
            return Refused(ask.task_id, account, why, need, left, account.window_end, need - own)
    if account.active("throttle") and account.paced_until is not None and account.paced_until > now:
        return Refused(
            ask.task_id, account, "throttled", need, account.limit - account.committed, account.paced_until, need - own
        )
    return None


def _spared(account: Account, need: Decimal) -> bool:
    """Of a model's money, what does not use the model asks nothing."""
    return need == ZERO and account.budget.scope.model is not None


def _turn(refused: Refused, waiting: Counter[UUID]) -> Refused:
    before = waiting[refused.account.id]
    waiting[refused.account.id] += 1
    pace = refused.account.pace()
    if refused.until is None or pace is None:
        return refused
    return replace(refused, until=refused.until + before * pace)


def _commit(account: Account, ask: Ask, now: datetime) -> None:
    pace = account.pace()
    if pace is not None and not _spared(account, ask.needs[account.id]):
        begin = now if account.paced_until is None else max(now, account.paced_until)
        account.paced_until = begin + pace
    account.committed += ask.needs[account.id] - ask.own.get(account.id, ZERO)
