"""Rules evaluated over a real database: by one manager, by two at once, with clocks that jump and signals that fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from prometheus_client import REGISTRY

from app.alerts import state_rows
from app.alerts.reader import MAX_INSTANCES, Reader
from app.alerts.reading import Sample, Unanswered
from app.alerts.records import Matcher
from app.alerts.rule import DEFAULT_RULES, Rule
from app.alerts.rule_spec import rule_of
from app.alerts.signals.base import By, Signal
from app.core.db import Database, HotConnection
from tests.alerts.watched import HOUR_S, Told, Watch, age, errors, moves, no_rules, now_of, put, states

RULE = Rule("deep", "told", ">", 5.0, for_s=60, keep_firing_for_s=30, annotations={"summary": "{{ $value }}"})


async def execute(db: Database, statement: str, *arguments: Any) -> None:
    async with db.hot() as connection:
        await connection.execute(statement, *arguments)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watch(db: Database, told: Told) -> Watch:
    await no_rules(db)
    return Watch(db, told)


async def fired(watch: Watch, rule: Rule = RULE) -> None:
    """A rule of which pool p fires."""
    await put(watch.db, rule)
    watch.told.says(9.0)
    await watch.run()
    await age(watch.db, rule.name, rule.for_s)
    await watch.run()


async def test_from_pending_to_resolved_and_forgotten(watch: Watch) -> None:
    db = watch.db
    await fired(watch)
    state = (await states(db, "deep"))["p"]
    assert (state.phase, state.value, state.annotations) == ("firing", 9.0, {"summary": "9"})
    assert state.labels == {"alertname": "deep", "severity": "warning", "pool": "p"}
    watch.told.says(1.0)
    await watch.run()
    assert (await states(db, "deep"))["p"].phase == "recovering"
    await age(db, "deep", 30)
    await watch.run()
    assert (await states(db, "deep"))["p"].phase == "resolved"
    await age(db, "deep", 901)
    await watch.run()
    assert await states(db, "deep") == {}
    assert await moves(db, "deep") == [
        ("ok", "pending", "violated"),
        ("pending", "firing", "violated"),
        ("firing", "recovering", "cleared"),
        ("recovering", "resolved", "cleared"),
    ]
    assert await errors(db) == {"deep": ""}


async def test_what_was_pending_and_clears_is_nothing(watch: Watch) -> None:
    await put(watch.db, RULE)
    watch.told.says(9.0)
    await watch.run()
    watch.told.says(1.0)
    await watch.run()
    assert await states(watch.db, "deep") == {}
    assert await moves(watch.db, "deep") == [("ok", "pending", "violated"), ("pending", "ok", "cleared")]


async def test_a_signal_is_read_once_a_pass(watch: Watch) -> None:
    for number in range(3):
        await put(watch.db, replace(RULE, name=f"r{number}", threshold=float(number)))
    await put(watch.db, replace(RULE, name="by_tenant", by="tenant"))
    await put(watch.db, replace(RULE, name="off", by="tenant"), enabled=False)
    watch.told.says(9.0)
    await watch.run()
    assert watch.told.asked == 2
    assert {name: set(await states(watch.db, name)) for name in ("r0", "r2", "off")} == {
        "r0": {"p"},
        "r2": {"p"},
        "off": set(),
    }


async def test_a_rule_is_about_the_series_that_it_concerns(watch: Watch) -> None:
    await put(watch.db, replace(RULE, matchers=(Matcher("pool", "=~", "p|q"),)))
    watch.told.says(*(Sample({"pool": pool}, 9.0) for pool in ("p", "q", "r")), Sample({}, 9.0))
    await watch.run()
    assert set(await states(watch.db, "deep")) == {"p", "q"}


async def test_a_signal_that_cannot_be_read_leaves_what_fires_and_says_so(watch: Watch) -> None:
    await fired(watch)
    watch.told.readings = asyncpg.UndefinedTableError("no such table")
    await watch.run()
    assert (await states(watch.db, "deep"))["p"].phase == "firing"
    assert await errors(watch.db) == {"deep": "UndefinedTableError: no such table"}
    watch.told.readings = RuntimeError()
    await watch.run()
    assert await errors(watch.db) == {"deep": "RuntimeError"}
    watch.told.says(9.0)
    await watch.run()
    assert await errors(watch.db) == {"deep": ""}
    assert len(await moves(watch.db, "deep")) == 2


@pytest.mark.parametrize(
    ("reading", "fields", "phase"),
    [
        (Unanswered({}, "error", "away"), {"error": "ok"}, "recovering"),
        (Unanswered({}, "error", "away"), {"error": "keep"}, "firing"),
        (Unanswered({"pool": "p"}, "no_data"), {"no_data": "ok"}, "recovering"),
        (Unanswered({"pool": "p"}, "no_data"), {"no_data": "keep"}, "firing"),
        (Unanswered({"pool": "p"}, "no_data"), {"no_data": "alert"}, "firing"),
        (Sample({"pool": "q"}, 1.0), {"no_data": "ok"}, "recovering"),  # p has vanished
        (Sample({"pool": "q"}, 1.0), {"no_data": "keep"}, "firing"),
    ],
)
async def test_the_three_ways_to_have_no_number(
    watch: Watch, reading: Sample | Unanswered, fields: dict[str, Any], phase: str
) -> None:
    await fired(watch, replace(RULE, **fields))
    watch.told.readings = [reading]
    await watch.run()
    assert (await states(watch.db, "deep"))["p"].phase == phase


async def test_a_signal_that_takes_too_long_is_an_error_of_its_own_rules_only(watch: Watch) -> None:
    async def slow(connection: HotConnection, by: By, now: object) -> list[Sample]:
        await connection.execute("SELECT pg_sleep(30)")
        return []

    async def writes(connection: HotConnection, by: By, now: object) -> list[Sample]:
        await connection.execute("DELETE FROM pools")
        return []

    signals = {"slow": Signal("slow", "", "", slow), "writes": Signal("writes", "", "", writes)}
    watch.evaluation._reader = Reader(watch.db, {**signals, "told": watch.told.signal}, 0.2)
    for name in ("slow", "writes", "unknown"):
        await put(watch.db, replace(RULE, name=name, signal=name))
    await fired(watch)
    found = await errors(watch.db)
    assert found["slow"].startswith("QueryCanceledError") and "statement timeout" in found["slow"]
    assert found["writes"].startswith("ReadOnlySQLTransactionError")
    assert found["unknown"] == "there is no signal 'unknown'"
    assert found["deep"] == ""
    assert (await states(watch.db, "deep"))["p"].phase == "firing"


async def test_many_quick_statements_that_take_too_long_together_are_an_error_too(watch: Watch) -> None:
    async def slow(connection: HotConnection, by: By, now: object) -> list[Sample]:
        for _ in range(60):
            await connection.execute("SELECT pg_sleep(0.1)")
        return []

    watch.evaluation._reader = Reader(watch.db, {"slow": Signal("slow", "", "", slow)}, 0.2)
    await put(watch.db, replace(RULE, name="slow", signal="slow"))
    await watch.run()
    assert (await errors(watch.db))["slow"] == "TimeoutError"


async def test_readers_of_a_pass_share_what_they_found(watch: Watch) -> None:
    seen = list[int]()

    async def counting(connection: HotConnection, by: By, now: object) -> list[Sample]:
        by.memo["n"] = by.memo.get("n", 0) + 1
        seen.append(by.memo["n"])
        return []

    names = ("one", "two")
    watch.evaluation._reader = Reader(watch.db, {name: Signal(name, "", "", counting) for name in names}, 1.0)
    for name in names:
        await put(watch.db, replace(RULE, name=name, signal=name))
    for _ in range(2):
        await watch.run()
    assert seen == [1, 2, 1, 2]


async def test_a_rule_with_too_many_series_is_an_error_and_its_alerts_stay(watch: Watch) -> None:
    await fired(watch)
    watch.told.readings = [Sample({"pool": f"x{number}"}, 9.0) for number in range(MAX_INSTANCES + 1)]
    await watch.run()
    assert set(await states(watch.db, "deep")) == {"p"}
    assert f"{MAX_INSTANCES + 1} series" in (await errors(watch.db))["deep"]
    watch.told.readings = watch.told.readings[:MAX_INSTANCES]
    await watch.run()
    assert len(await states(watch.db, "deep")) == MAX_INSTANCES + 1
    assert await errors(watch.db) == {"deep": ""}


async def test_what_is_kept_though_it_vanished_does_not_grow_for_ever(watch: Watch) -> None:
    await put(watch.db, replace(RULE, for_s=0, no_data="keep"))
    for turn in range(3):
        watch.told.readings = [Sample({"pool": f"{turn}-{number}"}, 9.0) for number in range(MAX_INSTANCES // 2 + 1)]
        await watch.run()
    assert len(await states(watch.db, "deep")) <= MAX_INSTANCES + 1
    assert "instances" in (await errors(watch.db))["deep"]


async def test_a_rule_that_cannot_be_is_its_own_trouble(watch: Watch) -> None:
    await execute(
        watch.db, """INSERT INTO alert_rules (name, spec, created_by) VALUES ('a', '{"signal": "told"}', 'k'),
          ('b', '{"signal": "told", "comparison": ">", "threshold": 1, "for_s": -1}', 'k'),
          ('c', '{"signal": "told", "comparison": ">", "threshold": 1, "matchers": ["x"]}', 'k')"""
    )  # fmt: skip
    await fired(watch)
    found = await errors(watch.db)
    assert found["a"].startswith("TypeError") and "for_s" in found["b"] and "matcher" in found["c"]
    assert (await states(watch.db, "deep"))["p"].phase == "firing"


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_a_rule_that_is_no_more_resolves_what_fires(watch: Watch, how: str) -> None:
    await fired(watch)
    watch.told.says(9.0, Sample({"pool": "new"}, 9.0))
    await watch.run()
    await execute(watch.db, "DELETE FROM alert_rules" if how == "deleted" else "UPDATE alert_rules SET enabled = false")
    await asyncio.gather(watch.run(), Watch(watch.db, watch.told).run())
    found = await states(watch.db, "deep")
    assert {pool: (state.phase, state.reason) for pool, state in found.items()} == {"p": ("resolved", "rule_changed")}
    assert sorted((await moves(watch.db, "deep"))[3:]) == [
        ("firing", "resolved", "rule_changed"),
        ("pending", "ok", "rule_changed"),
    ]
    await age(watch.db, "deep", 901)
    await watch.run()
    assert await states(watch.db, "deep") == {}


async def test_other_labels_resolve_the_old_alert_and_begin_a_new_one(watch: Watch) -> None:
    await fired(watch)
    await put(watch.db, replace(RULE, severity="critical"))
    await watch.run()
    async with watch.db.read() as connection:
        found = await state_rows.seen_states(connection, "deep")
    assert {state.labels["severity"]: state.phase for state in found.values()} == {
        "warning": "resolved",
        "critical": "pending",
    }


async def test_two_who_believe_to_lead_do_everything_once(watch: Watch) -> None:
    db, rules = watch.db, [replace(RULE, name=f"r{number}") for number in range(10)]
    others = [watch, *(Watch(db, watch.told) for _ in range(2))]
    for rule in rules:
        await put(db, rule)
    for value, older in ((9.0, 60.0), (9.0, 0.0), (1.0, 30.0), (1.0, 0.0)):
        watch.told.says(value)
        for _ in range(2):
            await asyncio.gather(*(other.run() for other in others))
        for rule in rules:
            await age(db, rule.name, older)
    for rule in rules:
        assert await moves(db, rule.name) == [
            ("ok", "pending", "violated"),
            ("pending", "firing", "violated"),
            ("firing", "recovering", "cleared"),
            ("recovering", "resolved", "cleared"),
        ]


async def test_older_readings_do_not_undo_a_newer_evaluation(watch: Watch) -> None:
    """A manager was frozen between reading and writing, while another evaluated."""
    await put(watch.db, replace(RULE, for_s=0))
    now = await now_of(watch.db)
    assert await watch.judge("deep", now, Sample({"pool": "p"}, 1.0))
    assert not await watch.judge("deep", now - timedelta(seconds=5), Sample({"pool": "p"}, 9.0))
    assert not await watch.judge("deep", now, Sample({"pool": "p"}, 9.0))
    assert await states(watch.db, "deep") == {}
    assert await watch.judge("deep", await now_of(watch.db), Sample({"pool": "p"}, 9.0))


async def test_a_rule_that_was_changed_meanwhile_is_not_judged_by_the_old_signal(watch: Watch) -> None:
    now = await now_of(watch.db)
    await put(watch.db, replace(RULE, signal="other"))
    assert not await watch.judge("deep", now, Sample({"pool": "p"}, 9.0))
    await put(watch.db, replace(RULE, by="tenant"))
    assert not await watch.judge("deep", now, Sample({"pool": "p"}, 9.0))
    await put(watch.db, RULE, enabled=False)
    assert not await watch.judge("deep", now, Sample({"pool": "p"}, 9.0))
    await no_rules(watch.db)
    assert not await watch.judge("deep", now, Sample({"pool": "p"}, 9.0))
    assert await states(watch.db, "deep") == {}


async def test_a_clock_that_is_set_back_starts_nothing_anew_and_stops_nothing(watch: Watch) -> None:
    await fired(watch)
    since = (await states(watch.db, "deep"))["p"].fired_at
    await age(watch.db, "deep", -HOUR_S)  # all that is known is of the future now
    await watch.run()
    state = (await states(watch.db, "deep"))["p"]
    assert since is not None and state.fired_at == since + timedelta(hours=1)
    assert state.phase == "firing"
    watch.told.says(1.0)
    await watch.run()
    state = (await states(watch.db, "deep"))["p"]
    assert state.phase == "recovering", "evaluations go on"
    assert state.keep_since is not None and state.fired_at is not None
    assert state.keep_since >= state.fired_at, "its own time does not go back"
    assert len(await moves(watch.db, "deep")) == 3


async def test_a_change_of_phase_is_hinted_and_nothing_else_is(watch: Watch) -> None:
    heard: list[str] = []
    listener = await watch.db.listener()
    await listener.add_listener("yard", lambda *hint: heard.append(str(hint[3])))
    try:
        await put(watch.db, RULE)
        watch.told.says(9.0)
        await watch.run()
        await watch.run()
        await listener.fetchval("SELECT 1")
        assert heard == ["alerts:deep"]
    finally:
        await listener.close()


async def test_old_transitions_are_forgotten(watch: Watch) -> None:
    await put(watch.db, RULE)
    for value in (9.0, 1.0, 9.0):
        watch.told.says(value)
        await watch.run()
    await execute(
        watch.db,
        """UPDATE alert_transitions SET at = now() - interval '2 hours'
        WHERE id IN (SELECT id FROM alert_transitions ORDER BY id LIMIT 2)""",
    )
    assert await watch.evaluation.purge()
    assert await moves(watch.db, "deep") == [("ok", "pending", "violated")]


async def test_what_alerts_there_are_is_a_metric(watch: Watch) -> None:
    await fired(watch)
    assert REGISTRY.get_sample_value("yard_alerts", {"rule": "deep", "phase": "firing"}) == 1
    watch.told.says(1.0)
    await watch.run()
    assert REGISTRY.get_sample_value("yard_alerts", {"rule": "deep", "phase": "firing"}) is None
    assert REGISTRY.get_sample_value("yard_alerts", {"rule": "deep", "phase": "recovering"}) == 1


async def test_a_value_that_json_has_no_number_for_is_kept(watch: Watch) -> None:
    await put(watch.db, replace(RULE, for_s=0))
    watch.told.says(float("inf"))
    await watch.run()
    assert (await states(watch.db, "deep"))["p"].value == float("inf")
    async with watch.db.read() as connection:
        reading = await connection.fetchval("SELECT reading FROM alert_states")
    assert orjson.loads(reading) == {"value": "inf", "total": None, "good": None}


async def test_the_rules_that_are_there_from_the_start_are_the_defaults(db: Database) -> None:
    async with db.read() as connection:
        found = [rule_of(stored.name, stored.spec) for stored in await state_rows.rules(connection)]
    assert found == sorted(DEFAULT_RULES, key=lambda rule: rule.name)


async def test_reading_raises_when_the_database_is_away(db: Database, told: Told) -> None:
    reader = Reader(db, {"told": told.signal}, 1.0)
    assert (await reader.read(RULE)).signal == "told"
    await db.stop()
    with pytest.raises(Exception, match="starting or stopping"):
        await reader.read(RULE)
