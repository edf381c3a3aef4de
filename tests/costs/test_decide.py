"""Who gets money, judged: a table of cases, and what holds for all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs.decide import Account, Ask, Granted, Refused, grant, shown
from app.costs.records import BudgetRecord, Scope, Threshold

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = NOW + timedelta(hours=1)
ONE = UUID(int=1)


def at(percent: int, action: str, **more: object) -> Threshold:
    return Threshold(Decimal(percent), action, **more)  # type: ignore[arg-type]


def account(
    limit: str, committed: str, *thresholds: Threshold, number: int = 1, paced: datetime | None = None
) -> Account:
    budget = BudgetRecord(
        "b", UUID(int=100 + number), Scope(), "day", "UTC", None, "usd", Decimal(limit), thresholds, "wait", None,
        "me", "default", NOW, NOW,
    )  # fmt: skip
    return Account(UUID(int=number), budget, Decimal(limit), Decimal(committed), END, paced)


def ask(amount: str, own: str | None = None, over: bool = False) -> Ask:
    return Ask(UUID(int=7), {ONE: Decimal(amount)}, {} if own is None else {ONE: Decimal(own)}, over)


PAUSE = at(100, "pause")
ASK_PEOPLE = at(80, "require_approval")


@pytest.mark.parametrize(
    ("thresholds", "committed", "asked", "why", "left"),
    [
        ((PAUSE,), "9", ask("1"), None, None),
        ((PAUSE,), "9", ask("1.000000001"), "exhausted", "1"),
        ((PAUSE,), "10", ask("0"), None, None),
        ((PAUSE,), "12", ask("0"), "exhausted", "0"),
        ((PAUSE,), "10", ask("1", own="1"), None, None),
        ((PAUSE,), "10", ask("2", own="1"), "exhausted", "1"),
        ((PAUSE,), "10", ask("5", over=True), "exhausted", "0"),
        ((ASK_PEOPLE, PAUSE), "8", ask("2", over=True), None, None),
        ((at(50, "stop"), PAUSE), "4.5", ask("1"), "exhausted", "0.5"),
        ((ASK_PEOPLE, PAUSE), "7", ask("2"), "approval", "1"),
        ((ASK_PEOPLE, PAUSE), "9.5", ask("1"), "exhausted", "0.5"),
        ((at(100, "notify"),), "99", ask("50"), None, None),
        ((at(50, "throttle", per_minute=6.0),), "4", ask("1"), None, None),
    ],
)
def test_table(
    thresholds: tuple[Threshold, ...], committed: str, asked: Ask, why: str | None, left: str | None
) -> None:
    (verdict,) = grant({ONE: account("10", committed, *thresholds)}, [asked], NOW)
    if why is None:
        assert isinstance(verdict, Granted)
    else:
        assert isinstance(verdict, Refused)
        assert (verdict.why, verdict.left, verdict.until) == (why, Decimal(left or 0), END)


def test_a_throttled_scope_waits_for_its_pace() -> None:
    pace = at(50, "throttle", per_minute=6.0)
    of = {ONE: account("10", "5", pace, paced=NOW + timedelta(seconds=3))}
    (verdict,) = grant(of, [ask("1")], NOW)
    assert isinstance(verdict, Refused)
    assert (verdict.why, verdict.until) == ("throttled", NOW + timedelta(seconds=3))
    of = {ONE: account("10", "5", pace, paced=NOW)}
    assert isinstance(grant(of, [ask("1")], NOW)[0], Granted)
    assert of[ONE].paced_until == NOW + timedelta(seconds=10)


def test_those_that_wait_for_a_pace_come_back_one_by_one() -> None:
    of = {ONE: account("10", "5", at(50, "throttle", per_minute=6.0), paced=NOW)}
    granted, *waiting = grant(of, [ask("0.1") for _ in range(4)], NOW)
    assert isinstance(granted, Granted)
    told = [verdict.until for verdict in waiting if isinstance(verdict, Refused)]
    assert told == [NOW + timedelta(seconds=seconds) for seconds in (10, 20, 30)]


def test_the_highest_threshold_that_is_reached_names_the_model() -> None:
    of = account("10", "9", at(50, "downgrade", models={"a": "b", "c": "d"}), at(90, "downgrade", models={"a": "e"}))
    (verdict,) = grant({ONE: of}, [ask("1")], NOW)
    assert isinstance(verdict, Granted)
    assert verdict.models == {"a": "e", "c": "d"}


amounts = st.decimals(0, 5, places=3)


@given(
    st.lists(st.tuples(amounts, st.booleans(), st.booleans(), st.booleans()), max_size=40),
    st.lists(st.decimals(0, 20, places=2), min_size=3, max_size=3),
    st.integers(10, 150),
)
def test_no_account_is_passed_and_nothing_is_refused_that_is_covered(
    asks: list[tuple[Decimal, bool, bool, bool]], limits: list[Decimal], percent: int
) -> None:
    accounts = {
        UUID(int=number + 1): account(str(limit), "0", at(percent, "pause"), number=number + 1)
        for number, limit in enumerate(limits)
    }
    caps = {key: item.limit * percent / 100 for key, item in accounts.items()}
    asked = [
        Ask(UUID(int=1000 + place), {key: amount for key, there in zip(accounts, which, strict=True) if there})
        for place, (amount, *which) in enumerate(asks)
    ]
    left = dict(caps)
    for given_ask, verdict in zip(asked, grant(accounts, asked, NOW), strict=True):
        fits = all(left[key] >= amount for key, amount in given_ask.needs.items())
        assert isinstance(verdict, Granted) == fits
        if isinstance(verdict, Granted):
            for key, amount in given_ask.needs.items():
                left[key] -= amount
    assert all(item.committed <= caps[key] for key, item in accounts.items())


@pytest.mark.parametrize(
    ("amount", "text"), [("100", "100"), ("0.500000000", "0.5"), ("0", "0"), ("-0", "0"), ("1E+3", "1000")]
)
def test_amounts_are_written_without_exponents(amount: str, text: str) -> None:
    assert shown(Decimal(amount)) == text
