"""Verbs of receivers: set, read, delete, test. They are of the installation: administrators set them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from app.alerts import receiver_config
from app.alerts import receiver_health as health
from app.alerts.flushing import new_id
from app.alerts.matching import BadMatcher, check, parse_matcher, text_of
from app.alerts.notification_loop import TOPIC
from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, Permanent
from app.alerts.outside import Notifiers
from app.alerts.receivers import COLUMNS, ReceiverRecord
from app.alerts.records import Alert, Labels
from app.auth.callers import Caller
from app.core.db import Database, HotConnection
from app.core.errors import Conflict, Invalid, NotFound
from app.core.jsonbody import dump_json
from app.core.wake import notify
from app.webhooks.addresses import check_url

log = structlog.get_logger()

MAX_RECEIVERS = 200
TEST_KEY = "test"

_LOCK = "SELECT pg_advisory_xact_lock(hashtext('yardmaster-receivers'))"
_GET = f"SELECT {COLUMNS} FROM receivers WHERE name = $1"  # noqa: S608 - constants
_PAGE = f"SELECT {COLUMNS} FROM receivers WHERE $1::text IS NULL OR name > $1 ORDER BY name LIMIT $2"  # noqa: S608
_PUT = f"""
INSERT INTO receivers (name, kind, description, config, routed, matchers, send_resolved, mute_times, active_times,
  group_by, group_wait_s, group_interval_s, repeat_interval_s, escalate_to, escalate_after_s, heartbeat_s, enabled,
  created_by, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, clock_timestamp(),
  clock_timestamp())
ON CONFLICT (name) DO UPDATE SET kind = EXCLUDED.kind, description = EXCLUDED.description, config = EXCLUDED.config,
  routed = EXCLUDED.routed, matchers = EXCLUDED.matchers, send_resolved = EXCLUDED.send_resolved,
  mute_times = EXCLUDED.mute_times, active_times = EXCLUDED.active_times, group_by = EXCLUDED.group_by,
  group_wait_s = EXCLUDED.group_wait_s, group_interval_s = EXCLUDED.group_interval_s,
  repeat_interval_s = EXCLUDED.repeat_interval_s, escalate_to = EXCLUDED.escalate_to,
  escalate_after_s = EXCLUDED.escalate_after_s, heartbeat_s = EXCLUDED.heartbeat_s, heartbeat_at = NULL,
  enabled = EXCLUDED.enabled, throttled_until = NULL, failed_reason = '', failed_at = NULL,
  updated_at = EXCLUDED.updated_at
RETURNING {COLUMNS}
"""  # noqa: S608
_COUNT = "SELECT count(*) FROM receivers"
_ESCALATIONS = "SELECT name, escalate_to FROM receivers WHERE escalate_to IS NOT NULL AND name <> $1"
_UNKNOWN = "SELECT name FROM unnest($1::text[]) AS name WHERE name NOT IN (SELECT name FROM mute_times) LIMIT 1"
_FORGET_RECEIPTS = "UPDATE alert_groups SET receipt = '', resend_at = NULL WHERE receiver = $1"
_NAMED_BY = "SELECT name FROM alert_rules WHERE spec::jsonb -> 'receivers' ? $1 ORDER BY name LIMIT 1"
_ESCALATES_TO = "SELECT name FROM receivers WHERE escalate_to = $1 ORDER BY name LIMIT 1"
# What was still to be told is named, and nobody is told of it.
_DROP = """
INSERT INTO notifications (id, group_key, receiver, reason, sent, verdicts, outcome, detail)
SELECT v.id, g.key, g.receiver, 'receiver_deleted', false, coalesce((
    SELECT json_agg(json_build_object('fingerprint', m.fingerprint, 'labels', m.alert->'labels', 'sent', false,
      'reason', 'receiver_deleted', 'by', $2::text))
    FROM alert_group_members m WHERE m.group_key = g.key), '[]'::json), 'held', 'The receiver was deleted.'
FROM alert_groups g JOIN unnest($3::uuid[], $4::text[]) AS v (id, key) USING (key) WHERE g.receiver = $1
"""
_KEYS = "SELECT key FROM alert_groups WHERE receiver = $1 ORDER BY key FOR UPDATE"
_DELETE = f"DELETE FROM receivers WHERE name = $1 RETURNING {COLUMNS}"  # noqa: S608


class ReceiverNotFound(NotFound):
    code, title = "receiver_not_found", "No such receiver"


class TooManyReceivers(Conflict):
    code, title = "too_many_receivers", "Too many receivers"


class ReceiverInUse(Conflict):
    code, title = "receiver_in_use", "Another receiver escalates to it"


class UnknownMuteTime(Invalid):
    code, title = "unknown_mute_time", "No such mute time"


class UnknownEscalation(Invalid):
    code, title = "unknown_escalation", "No such receiver to escalate to"


class EscalationCycle(Invalid):
    code, title = "escalation_cycle", "Escalation in a circle"


class MatchersRefused(Invalid):
    code, title = "bad_matcher", "Bad matcher"


@dataclass(frozen=True, slots=True)
class ReceiverSpec:
    """What a receiver is to be. `config` as its owner wrote it."""

    kind: str
    config: Mapping[str, Any]
    description: str
    routed: bool
    matchers: tuple[str, ...]
    send_resolved: bool
    mute_times: tuple[str, ...]
    active_times: tuple[str, ...]
    group_by: tuple[str, ...]
    group_wait_s: float
    group_interval_s: float
    repeat_interval_s: float
    escalate_to: str | None
    escalate_after_s: float | None
    heartbeat_s: float | None
    enabled: bool


class Receivers:
    """The verbs."""

    def __init__(self, db: Database, notifiers: Notifiers) -> None:
        self._db, self._notifiers = db, notifiers

    async def put(self, name: str, spec: ReceiverSpec, by: Caller) -> tuple[ReceiverRecord, bool]:
        """Set a receiver as a whole; whether it is new. It counts as working until it fails again, and what it could
        not be told is tried at once. Raises what is wrong with the spec, or TooManyReceivers."""
        matchers = checked_matchers(spec.matchers)
        before = _config_of(await self._before(name), spec.kind)
        for where, url in receiver_config.urls(receiver_config.read(spec.kind, spec.config, before)):
            await _checked(where, url, self._notifiers)
        async with self._db.hot() as connection, connection.transaction():
            await connection.execute(_LOCK)
            await _check_references(connection, name, spec)
            row = await connection.fetchrow(_GET, name)
            old = None if row is None else ReceiverRecord.of(dict(row))
            if old is None and await connection.fetchval(_COUNT) >= MAX_RECEIVERS:
                raise TooManyReceivers(f"There are {MAX_RECEIVERS} receivers already; delete one that is not needed.")
            # Again, for what another put has stored meanwhile; addresses that are masked were checked when it came.
            known = _config_of(old, spec.kind)
            stored = receiver_config.to_store(receiver_config.read(spec.kind, spec.config, known), known)
            made = await connection.fetchrow(_PUT, *_values(name, spec, matchers, stored, by))
            if old is not None:
                await health.try_again(connection, name)
            if old is not None and old.kind != spec.kind:
                await connection.execute(_FORGET_RECEIPTS, name)
            await notify(connection, TOPIC)
        assert made is not None
        log.info("receiver_put", name=name, kind=spec.kind, by=by.id)
        return ReceiverRecord.of(dict(made)), old is None

    async def get(self, name: str) -> ReceiverRecord:
        """Raises ReceiverNotFound."""
        found = await self._before(name)
        if found is None:
            raise _missing(name)
        return found

    async def page(self, after: str | None, limit: int) -> list[ReceiverRecord]:
        """By name."""
        async with self._db.read() as connection:
            return [ReceiverRecord.of(dict(row)) for row in await connection.fetch(_PAGE, after, limit)]

    async def delete(self, name: str, by: Caller) -> None:
        """With its groups: what it was still to be told is stored as notifications that were held. What is open at its
        provider stays open. Raises ReceiverNotFound or ReceiverInUse."""
        async with self._db.hot() as connection, connection.transaction():
            await connection.execute(_LOCK)
            if user := await connection.fetchval(_ESCALATES_TO, name):
                raise ReceiverInUse(f"The receiver {user!r} escalates to {name!r}; change that one first.")
            if rule := await connection.fetchval(_NAMED_BY, name):
                raise ReceiverInUse(f"The alert rule {rule!r} names {name!r}; change that one first.")
            keys = [row["key"] for row in await connection.fetch(_KEYS, name)]
            await connection.execute(_DROP, name, by.id, [new_id() for _ in keys], keys)
            await connection.execute("DELETE FROM notification_log WHERE receiver = $1", name)
            if await connection.fetchrow(_DELETE, name) is None:
                raise _missing(name)
        log.info("receiver_deleted", name=name, by=by.id)

    async def test(self, name: str, by: Caller) -> Outcome:
        """Send a test alert now, whatever is muted, and then its end where it was delivered. A success clears what
        failed before; a lasting failure is stored."""
        receiver = await self.get(name)
        alert = _test_alert(name, by)
        notice = Notice(new_id(), f"{name}:{TEST_KEY}-{new_id().hex}", name, "first", (alert,), _test_labels(name))
        outcome = await self._notifiers.notify(receiver, notice)
        if isinstance(outcome, Delivered) and receiver.send_resolved and receiver.kind == "pagerduty":
            await self._notifiers.notify(receiver, _ended(notice, alert, outcome.receipt))
        async with self._db.hot() as connection, connection.transaction():
            if isinstance(outcome, Delivered):
                await health.works(connection, name)
                await health.try_again(connection, name)
                await notify(connection, TOPIC)
            elif isinstance(outcome, Permanent):
                await health.failing(connection, name, outcome.reason, receiver.updated_at)
        log.info("receiver_tested", name=name, by=by.id, outcome=type(outcome).__name__)
        return outcome

    async def _before(self, name: str) -> ReceiverRecord | None:
        async with self._db.read() as connection:
            row = await connection.fetchrow(_GET, name)
        return None if row is None else ReceiverRecord.of(dict(row))


def cycle(name: str, to: str, escalations: Mapping[str, str]) -> list[str] | None:
    """The circle that `name` escalating to `to` would close; None: it closes none. Pure."""
    path = [name, to]
    while path[-1] != name:
        following = escalations.get(path[-1])
        if following is None or len(path) > MAX_RECEIVERS:
            return None
        path.append(following)
    return path


def checked_matchers(texts: tuple[str, ...]) -> tuple[str, ...]:
    """As they are stored. Raises MatchersRefused."""
    try:
        return tuple(map(text_of, check(map(parse_matcher, texts))))
    except BadMatcher as error:
        raise matchers_refused(error, "matchers") from None


def matchers_refused(error: BadMatcher, path: str) -> MatchersRefused:
    return MatchersRefused(f"{path}: {error}.", extra={"errors": [{"path": path, "message": str(error)}]})


async def _check_references(connection: HotConnection, name: str, spec: ReceiverSpec) -> None:
    unknown = await connection.fetchval(_UNKNOWN, [*spec.mute_times, *spec.active_times])
    if unknown is not None:
        path = "mute_times" if unknown in spec.mute_times else "active_times"
        message = f"There is no mute time {unknown!r}."
        raise UnknownMuteTime(message, extra={"errors": [{"path": path, "message": message}]})
    if spec.escalate_to is None:
        return
    errors = {"errors": [{"path": "escalate_to", "message": "not accepted"}]}
    known = spec.escalate_to == name or await connection.fetchrow(_GET, spec.escalate_to)
    if not known:
        raise UnknownEscalation(f"There is no receiver {spec.escalate_to!r}.", extra=errors)
    others = {row["name"]: row["escalate_to"] for row in await connection.fetch(_ESCALATIONS, name)}
    if path_ := cycle(name, spec.escalate_to, others):
        raise EscalationCycle(f"It would go in a circle: {' → '.join(path_)}.", extra=errors)


async def _checked(where: str, url: str, notifiers: Notifiers) -> None:
    """Raises BadWebhookUrl or WebhookAddressRefused, which name the place."""
    try:
        await check_url(url, notifiers.allows)
    except Invalid as error:
        error.extra["errors"] = [{"path": where, "message": error.title}]
        raise


def _values(
    name: str, spec: ReceiverSpec, matchers: tuple[str, ...], config: Mapping[str, Any], by: Caller
) -> tuple[object, ...]:
    return (
        *(name, spec.kind, spec.description, dump_json(config), spec.routed, list(matchers), spec.send_resolved),
        *(list(spec.mute_times), list(spec.active_times), list(spec.group_by)),
        *(spec.group_wait_s, spec.group_interval_s, spec.repeat_interval_s),
        *(spec.escalate_to, spec.escalate_after_s, spec.heartbeat_s, spec.enabled, by.id),
    )


def _config_of(receiver: ReceiverRecord | None, kind: str) -> Mapping[str, Any] | None:
    return receiver.config if receiver is not None and receiver.kind == kind else None


def _test_labels(name: str) -> Labels:
    return {"alertname": "TestAlert", "receiver": name}


def _test_alert(name: str, by: Caller) -> Alert:
    return Alert(
        {**_test_labels(name), "severity": "info"},
        datetime.now(UTC),
        annotations={"summary": f"A test of the receiver {name}, asked for by {by.id}. Nothing is wrong."},
    )


def _ended(notice: Notice, alert: Alert, receipt: str) -> Notice:
    """PagerDuty would keep the test open for ever."""
    ended = replace(alert, ends_at=datetime.now(UTC))
    made: UUID = new_id()
    return replace(notice, id=made, reason="resolved", alerts=(ended,), receipt=receipt)


def _missing(name: str) -> ReceiverNotFound:
    return ReceiverNotFound(f"There is no receiver {name!r}.")
