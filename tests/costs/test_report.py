"""What is asked for, and how it is written down."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.costs import export, focus
from app.costs.report import BadReport, groups_of, label_filters, money, parts, per_success, period
from app.costs.vendors import vendor_of

NOW = datetime(2026, 11, 28, 21, 5, tzinfo=UTC)
DAY = timedelta(days=1)
HOURS = st.integers(0, 50_000).map(lambda hour: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=hour))


@given(HOURS, st.integers(1, 2000))
def test_days_and_ragged_ends_are_the_period(begin: datetime, hours: int) -> None:
    end = begin + timedelta(hours=hours)
    found = parts(begin, end)
    spans = list(found.hours)
    if found.days[0] < found.days[1]:
        first, last = (datetime.combine(day, datetime.min.time(), UTC) for day in found.days)
        spans.append((first, last))
    spans.sort()
    assert spans[0][0] == begin
    assert spans[-1][1] == end
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert sum(((b - a) for a, b in found.hours), timedelta(0)) < 2 * DAY


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (None, None, ("2026-10-30T00", "2026-11-29T00")),
        ("2026-11-01T10:30:00+00:00", "2026-11-02T10:00:01+00:00", ("2026-11-01T10", "2026-11-02T11")),
        ("2026-11-01", None, ("2026-11-01T00", "2026-11-29T00")),
        (None, "2026-11-10T12:00:00", ("2026-10-12T00", "2026-11-10T12")),
        ("2026-11-01T01:00:00+02:00", "2026-11-02", ("2026-10-31T23", "2026-11-02T00")),
    ],
)
def test_periods(begin: str | None, end: str | None, expected: tuple[str, str]) -> None:
    found = period(*(datetime.fromisoformat(text) if text else None for text in (begin, end)), NOW)
    assert tuple(f"{moment:%Y-%m-%dT%H}" for moment in found) == expected


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("2026-11-02", "2026-11-02"),
        ("2026-11-03", "2026-11-02"),
        ("1999-01-01", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("0001-01-01T00:00:00+12:00", None),
        ("2001-01-01", "2026-01-01"),
    ],
)
def test_what_is_no_period(begin: str, end: str | None) -> None:
    with pytest.raises(BadReport):
        period(datetime.fromisoformat(begin), datetime.fromisoformat(end) if end else None, NOW)


def test_groups_and_labels() -> None:
    assert groups_of(["day,model", "label:team"]) == ("day", "model", "label:team")
    for wrong in (["days"], ["label:"], ["day", "day"], ["day,hour"], ["model,pool,tenant,type,outcome,day"]):
        with pytest.raises(BadReport):
            groups_of(wrong)
    assert label_filters(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    for wrong in (["a"], ["=b"], ["a=b", "a=c"]):
        with pytest.raises(BadReport):
            label_filters(wrong)


@pytest.mark.parametrize(
    ("amount", "text"),
    [("0", "0"), ("1E+3", "1000"), ("12.10", "12.1"), ("0.00000000014", "0.0000000001"), ("-0.5", "-0.5"),
     ("1e-30", "0"), ("99999999999999999.123456", "99999999999999999.123456")],
)  # fmt: skip
def test_money(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


def test_the_cost_of_a_success() -> None:
    assert per_success(Decimal(1), 3) == "0.3333333333"
    assert per_success(Decimal(1), 0) is None


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_no_cell_is_a_formula_and_the_text_comes_back(texts: list[str]) -> None:
    (back,) = csv.reader(io.StringIO(export.lines([texts]), newline=""))
    for text, cell in zip(texts, back, strict=True):
        assert cell.removeprefix("'") == text.removeprefix("'") or cell == text
        assert not cell.startswith(("=", "@", "\t", "\r"))


def test_numbers_stay_numbers() -> None:
    assert export.lines([["-0.5", "-x", -3, None, "+1+1", "=SUM(A1)"]]) == "-0.5,'-x,-3,,'+1+1,'=SUM(A1)\r\n"


def test_a_charge() -> None:
    row = {
        "day": date(2026, 12, 31), "tenant": "acme", "pool": "p", "type": "work", "model": "gpt-4o", "synthetic": True,
        "labels": '{"team": "ads"}', "outcome": "failed", "attempts": 3, "input_tokens": Decimal(100),
        "output_tokens": Decimal(20), "cost_usd": Decimal("0.5"), "unpriced_tokens": 7,
    }  # fmt: skip
    found = focus.charge(row, vendor_of)
    assert set(found) == set(focus.COLUMNS)
    assert (found["BillingPeriodStart"], found["BillingPeriodEnd"]) == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert (found["ChargePeriodStart"], found["ChargePeriodEnd"]) == ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z")
    assert found["ServiceProviderName"] == "OpenAI"
    assert (found["ConsumedQuantity"], found["EffectiveCost"]) == ("120.0", "0.5")
    assert found["Tags"] == (
        '{"team":"ads","yardmaster/outcome":"failed","yardmaster/synthetic":"true","yardmaster/type":"work"}'
    )
    assert focus.charge({**row, "model": "nobody's"}, vendor_of)["HostProviderName"] == "Unknown"
    ours = [name for name in focus.COLUMNS if name.startswith("x_")]
    assert list(focus.COLUMNS) == sorted(set(focus.COLUMNS) - set(ours)) + ours
