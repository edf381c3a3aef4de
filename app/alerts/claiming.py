"""Groups that are due, each leased to one manager at a time, with all that judging them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from app.alerts import group_sql as sql
from app.alerts.deliver import LogEntry
from app.alerts.inhibition import Inhibitions, InhibitRule
from app.alerts.intervals import parse_interval
from app.alerts.looking import member_of, read_receivers
from app.alerts.matching import parse_matcher
from app.alerts.members import Member
from app.alerts.mute_times import MuteTimes, TimeInterval
from app.alerts.receivers import ReceiverRecord
from app.alerts.records import Alert
from app.alerts.silences import Silence
from app.alerts.steps import OpenGroup, Surroundings
from app.core.db import Database, HotConnection

ACTIVE_SILENCES = """
SELECT id, matchers, starts_at, ends_at, created_by, comment FROM silences
WHERE ends_at > now() AND starts_at <= now()
"""
_RULES = "SELECT name, source, target, equal FROM inhibit_rules ORDER BY name"
_MUTE_TIMES = "SELECT name, intervals FROM mute_times"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A group that is ours to tell until its lease ends, as it was at `now`. `lease_s`: how long the lease is, counted
    anew when a send begins."""

    lease: UUID
    lease_s: float
    now: datetime
    group: OpenGroup
    receiver: ReceiverRecord
    members: tuple[Member, ...]
    log: LogEntry | None
    around: Surroundings

    def alerts(self, seen: Mapping[str, Alert]) -> tuple[Alert, ...]:
        """Its alerts; annotations and values as they were seen last, where it is the same alert still."""
        found = list[Alert]()
        for member in self.members:
            alert = seen.get(member.alert.fingerprint, member.alert)
            same = (alert.starts_at, alert.ends_at) == (member.alert.starts_at, member.alert.ends_at)
            found.append(alert if same else member.alert)
        return tuple(found)


class Claims:
    """Takes groups. `resend_s`: of a kind of receivers."""

    def __init__(self, db: Database, *, lease_s: float, each: int) -> None:
        self._db, self._lease_s, self._each = db, lease_s, each

    async def take(
        self, busy: Mapping[str, int], limit: int, seen: Mapping[str, Alert], resend_s: Mapping[str, float | None]
    ) -> list[Claimed]:
        """At most `limit` groups; `busy`: how many of each receiver are under way here."""
        lease = uuid4()
        async with self._db.hot() as connection:
            rows = await connection.fetch(
                sql.CLAIM, list(busy), list(busy.values()), self._each, limit, lease, self._lease_s
            )
            if not rows:
                return []
            groups = [open_group(dict(row)) for row in rows]
            keys = [group.key for group in groups]
            members = [member_of(dict(row)) for row in await connection.fetch(sql.MEMBERS_OF, keys)]
            logs = {row["group_key"]: _entry(dict(row)) for row in await connection.fetch(sql.LOG_OF, keys)}
            receivers = await read_receivers(connection)
            silences = [silence_of(dict(row)) for row in await connection.fetch(ACTIVE_SILENCES)]
            inhibitions = Inhibitions.of(await _inhibit_rules(connection), seen.values())
            intervals = await _intervals(connection)
            now = await connection.fetchval("SELECT now()")
        return [
            Claimed(
                lease,
                self._lease_s,
                now,
                group,
                receiver,
                tuple(member for member in members if member.group_key == group.key),
                logs.get(group.key),
                Surroundings(silences, inhibitions, _muting(receiver, intervals), resend_s.get(receiver.kind)),
            )
            for group in groups
            if (receiver := receivers.get(group.receiver)) is not None
        ]


def open_group(row: dict[str, Any]) -> OpenGroup:
    """From a row of GROUP_COLUMNS."""
    return OpenGroup(**{**row, "labels": orjson.loads(row["labels"]), "alarmed": frozenset(row["alarmed"])})


def silence_of(row: Mapping[str, Any]) -> Silence:
    return Silence(
        row["id"],
        tuple(map(parse_matcher, row["matchers"])),
        row["starts_at"],
        row["ends_at"],
        row["created_by"],
        row["comment"],
    )


def _entry(row: Mapping[str, Any]) -> LogEntry:
    return LogEntry(
        row["group_key"],
        row["receiver"],
        frozenset(row["firing"]),
        frozenset(row["resolved"]),
        row["sent_at"],
        row["expires_at"],
    )


async def _inhibit_rules(connection: HotConnection) -> Sequence[InhibitRule]:
    return [
        InhibitRule(
            row["name"],
            tuple(map(parse_matcher, row["source"])),
            tuple(map(parse_matcher, row["target"])),
            tuple(row["equal"]),
        )
        for row in await connection.fetch(_RULES)
    ]


async def _intervals(connection: HotConnection) -> dict[str, tuple[TimeInterval, ...]]:
    return {
        row["name"]: tuple(map(parse_interval, orjson.loads(row["intervals"])))
        for row in await connection.fetch(_MUTE_TIMES)
    }


def _muting(receiver: ReceiverRecord, intervals: Mapping[str, tuple[TimeInterval, ...]]) -> MuteTimes:
    return MuteTimes(
        {name: intervals[name] for name in receiver.mute_times if name in intervals},
        {name: intervals[name] for name in receiver.active_times if name in intervals},
    )
