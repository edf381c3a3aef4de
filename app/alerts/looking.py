"""One look at the alerts there are: which group of which receiver each belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from app.alerts import group_sql as sql
from app.alerts.grouping import Group
from app.alerts.investigation import report_urls
from app.alerts.members import Current, Member, Plan, current, from_json, plan, to_json
from app.alerts.receivers import COLUMNS, ReceiverRecord, RuleRoute
from app.alerts.records import Alert
from app.alerts.state import from_json as state_from_json
from app.core.db import Database, HotConnection
from app.core.jsonbody import dump_json

RECEIVERS = f"SELECT {COLUMNS} FROM receivers"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look saw: alerts by fingerprint, receivers by name."""

    alerts: Mapping[str, Alert] = field(default_factory=dict)
    receivers: Mapping[str, ReceiverRecord] = field(default_factory=dict)


async def look(db: Database, url: str) -> Seen | None:
    """Brings groups and members up to date, in one transaction. None: somebody else is looking right now."""
    async with db.hot() as connection, connection.transaction():
        if not await connection.fetchval(sql.LOOK_LOCK):
            return None
        rules = {row["name"]: RuleRoute.of(orjson.loads(row["spec"])) for row in await connection.fetch(sql.RULES)}
        receivers = await read_receivers(connection)
        alerts = await _current(connection, rules, url)
        members = [member_of(dict(row)) for row in await connection.fetch(sql.MEMBERS)]
        groups = await open_groups(connection, receivers)
        now = await connection.fetchval("SELECT now()")
        found = plan(alerts, rules, list(receivers.values()), members, groups, now)
        await store(connection, found)
    return Seen({name: item.alert for name, item in alerts.items()}, receivers)


async def read_receivers(connection: HotConnection) -> dict[str, ReceiverRecord]:
    """By name, in that order."""
    found = [ReceiverRecord.of(dict(row)) for row in await connection.fetch(f"{RECEIVERS} ORDER BY name")]
    return {receiver.name: receiver for receiver in found}


async def open_groups(connection: HotConnection, receivers: Mapping[str, ReceiverRecord]) -> dict[str, Group]:
    """Every group there is, by key."""
    return {
        row["key"]: Group(
            row["key"],
            orjson.loads(row["labels"]),
            row["next_flush_at"],
            row["flushed"],
            receivers[row["receiver"]].timing,
        )
        for row in await connection.fetch(sql.OPEN_GROUPS)
        if row["receiver"] in receivers
    }


async def store(connection: HotConnection, found: Plan) -> None:
    """Write a plan, within the caller's transaction."""
    if found.opened:
        groups = [group for _, group in found.opened.values()]
        await connection.execute(
            sql.OPEN,
            list(found.opened),
            [receiver for receiver, _ in found.opened.values()],
            [dump_json(group.labels) for group in groups],
            [group.next_flush_at for group in groups],
        )
    if found.hurried:
        await connection.execute(sql.HURRY, list(found.hurried), list(found.hurried.values()))
    if found.put:
        await _put(connection, found.put)


async def _put(connection: HotConnection, members: Sequence[Member]) -> None:
    ordered = sorted(members, key=lambda member: (member.receiver, member.alert.fingerprint))
    starts: list[datetime] = [member.alert.starts_at for member in ordered]
    ends: list[datetime | None] = [member.alert.ends_at for member in ordered]
    await connection.execute(
        sql.PUT_MEMBERS,
        [member.receiver for member in ordered],
        [member.alert.fingerprint for member in ordered],
        [member.group_key for member in ordered],
        [member.rule for member in ordered],
        starts,
        ends,
        [dump_json(to_json(member.alert)) for member in ordered],
    )


async def _current(connection: HotConnection, rules: Mapping[str, RuleRoute], url: str) -> dict[str, Current]:
    states = [(row["rule"], state_from_json(orjson.loads(row["state"]))) for row in await connection.fetch(sql.STATES)]
    fired = [(rule, state.fingerprint, state.fired_at) for rule, state in states if state.fired_at is not None]
    return current(states, rules, url, await report_urls(connection, fired, url))


def member_of(row: Mapping[str, object]) -> Member:
    """From a row of MEMBERS."""
    return Member(
        str(row["receiver"]), str(row["group_key"]), str(row["rule"]), from_json(orjson.loads(str(row["alert"])))
    )
