"""`yard costs`: amounts and bars, and the whole of it against the real service."""

import asyncio
import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from cli_service import Service, until
from hypothesis import given
from hypothesis import strategies as st

from app.cli.bars import bar, sparkline
from app.cli.costs import places_for, usd
from app.costs.figure import layers

USD = st.decimals(0, 10**9, places=8)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("0", "0"), ("1234.567", "1,234.57"), ("0.12345", "0.1234"), ("0.000001234567", "0.000001235"), ("-2.5", "-2.50"),
     ("1e-20", "<0.0000000001")],
)  # fmt: skip
def test_amounts_for_people(text: str, shown: str) -> None:
    assert usd(text) == shown


def test_a_column_of_amounts_lines_up() -> None:
    amounts = ["67.17", "0.4032", "0.0001", "0"]
    assert [usd(text, places_for(amounts)) for text in amounts] == ["67.17", "0.40", "<0.01", "0"]
    assert places_for([]) == places_for(["0"]) == 2


@given(USD, USD, st.integers(1, 60))
def test_a_bar_is_as_long_as_its_share(value: Decimal, most: Decimal, width: int) -> None:
    drawn = bar(min(value, most), most, width)
    assert len(drawn) <= width
    assert bool(drawn) == (min(value, most) > 0)
    if value >= most > 0:
        assert drawn == "█" * width


@given(st.lists(USD, max_size=40))
def test_a_sparkline_has_a_character_a_value(values: list[Decimal]) -> None:
    drawn = sparkline(values)
    assert len(drawn) == len(values)
    assert [character == "·" for character in drawn] == [value == 0 for value in values]


def test_models_past_the_seventh_are_one_layer() -> None:
    day = date(2026, 11, 20)
    spent = {(day, f"m{number}"): Decimal(number) for number in range(10)}
    found = layers(spent, [day, day + timedelta(days=1)])
    assert [name for name, _ in found] == ["m9", "m8", "m7", "m6", "m5", "m4", "m3", "2 other models"]
    assert found[-1][1] == [3.0, 0.0]


async def _use(service: Service) -> None:
    url = f"postgresql://postgres@/yardmaster?host={quote(str(service.data / 'run'))}&port=5432"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            """INSERT INTO usage (task_id, fence, ordinal, tenant, pool, model, input_tokens, output_tokens, quantities,
              at, type, outcome, cost_usd)
            SELECT gen_random_uuid(), 1, 0, 'costs-test', 'p', m, 100, 10, '{}', now() - make_interval(days => d),
              'work', CASE WHEN m = 'small' THEN 'failed' ELSE 'succeeded' END, c
            FROM generate_series(0, 9) d, (VALUES ('big', 3.0), ('small', 0.5), ('ours', NULL)) v(m, c)"""
        )
        await connection.execute(
            "INSERT INTO usage_dirty (hour) SELECT now() - make_interval(days => d) FROM generate_series(0, 9) d"
        )
    finally:
        await connection.close()


def test_costs_from_the_rows_to_the_figure(service: Service, tmp_path: Path) -> None:
    asyncio.run(_use(service))
    asked = ("costs", "--tenant", "costs-test")
    until(lambda: service.json(*asked)["report"]["totals"]["attempts"] == 30)
    target = tmp_path / "costs.png"
    shown = service.yard(*asked, "--chart", str(target))
    assert shown.exit_code == 0, shown.stderr
    for pattern in (
        r"^cost +35\.00 USD, 3\.50 on a full day",
        r"^a success +at least 1\.75 USD",
        r"^waste +5\.00 USD, 14",
        r"^unpriced +10 rows",
        r"^big +█{24} +30\.00 +85\.7 %",
        r"^ours +no price",
    ):
        assert re.search(pattern, shown.stdout, re.M), (pattern, shown.stdout)
    assert target.read_bytes().startswith(b"\x89PNG")
    table = list(csv.DictReader(io.StringIO(service.yard(*asked, "--by", "day", "--days", "3", "--csv").stdout)))
    assert [row["cost_usd"] for row in table] == ["3.5"] * 3
    assert table[-1]["day"] == f"{datetime.now(UTC):%Y-%m-%d}"
    assert service.json(*asked, "--by", "type")["report"]["items"][0]["type"] == "work"
    nobody = service.yard("costs", "--tenant", "nobody", "--chart", str(target))
    assert (nobody.exit_code, "nothing was spent" in nobody.stderr) == (1, True)
    for wrong in (["--by", "day,pool"], ["--csv", "--json"], ["--days", "0"], ["--chart", str(tmp_path)]):
        assert service.yard(*asked, *wrong).exit_code == 2
    assert service.yard(*asked, "--by", "colour").exit_code == 1
