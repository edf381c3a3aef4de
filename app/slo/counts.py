"""What an objective counts: tasks that ended, by the bucket in which they ended and by what became of them.

An event is a task, sub-tasks too, in the bucket of its `finished_at`. A failed one that is replayed is no event until
it ends again, so buckets that are counted anew have it once. Names say what each was:

    availability   succeeded good · failed, expired bad · cancelled, unapproved, synthetic excluded
    latency        fast good · slow bad · failed, expired, cancelled, unapproved, synthetic excluded
    accuracy       good · bad · unscored, or pending while its verdict may still come · the rest as for latency

`expired` is a task that nobody started by its deadline, `unapproved` one whose start nobody approved in time: that is
people's doing, and an exhausted budget may be why they were asked, which must not keep it exhausted. A latency is from
when the task could start (made, or its `run_at`) to its end; without the wait it is the time of its attempts together.
At the threshold it is fast.

The statements read `tasks` by `finished_at` and judge as `verdicts.py` does, in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from app.core.db import HotConnection
from app.slo.budget import Counts
from app.slo.objective import Kind, Objective
from app.slo.verdicts import BAD_LABELS, GOOD_LABELS, Settling
from app.slo.windows import BUCKET_S, Span, whole_buckets

_LEFT_OUT = {"cancelled": "excluded", "unapproved": "excluded", "synthetic": "excluded"}
_NOT_SUCCEEDED = {"failed": "excluded", "expired": "excluded", **_LEFT_OUT}
NAMES: Mapping[Kind, Mapping[str, str]] = {
    "availability": {"succeeded": "good", "failed": "bad", "expired": "bad", **_LEFT_OUT},
    "latency": {"fast": "good", "slow": "bad", **_NOT_SUCCEEDED},
    "accuracy": {name: name for name in ("good", "bad", "unscored", "pending")} | _NOT_SUCCEEDED,
}
"""What each name counts as, by the kind of the objective."""

# $1, $2: from, to; $3: seconds of a bucket; $4 to $7: tenant, pool, label (key, value), NULL for any.
_COUNTED = """
SELECT bucket, name, count(*) AS n FROM (
  SELECT b.start AS bucket, CASE WHEN t.synthetic THEN 'synthetic' WHEN t.status = 'succeeded' THEN {succeeded}
    WHEN t.status = 'expired' AND t.error_code = 'approval_expired' THEN 'unapproved' ELSE t.status END AS name
  FROM tasks t CROSS JOIN LATERAL (
    SELECT date_bin(make_interval(secs => $3::int), t.finished_at, 'epoch'::timestamptz) AS start) b {joined}
  WHERE t.finished_at >= $1::timestamptz AND t.finished_at < $2::timestamptz
    AND t.status IN ('succeeded', 'failed', 'cancelled', 'expired')
    AND ($4::text IS NULL OR t.tenant = $4) AND ($5::text IS NULL OR t.pool = $5)
    AND ($6::text IS NULL OR t.labels @> jsonb_build_object($6, $7::text))
) ended GROUP BY 1, 2 ORDER BY 1, 2
"""
_SINCE_READY = "extract(epoch FROM t.finished_at - greatest(t.created_at, t.run_at))"
# What an agent worked on: a refusal or a return never was work.
_WORKED = """COALESCE((SELECT sum(extract(epoch FROM a.finished_at - a.started_at)) FROM attempts a
    WHERE a.task_id = t.id AND a.started_at IS NOT NULL AND (a.counted OR a.outcome = 'suspended')), 0)"""
_PACE = "CASE WHEN {seconds} <= $8::numeric THEN 'fast' ELSE 'slow' END"
# $8, $9: the series; $10: the score from which on a verdict is good; $11: seconds until a bucket settles.
_SCORED = "CASE WHEN v.is_good IS NULL THEN 'unscored' WHEN v.is_good THEN 'good' ELSE 'bad' END"
_VERDICT = f"""
  LEFT JOIN LATERAL (
    SELECT f.is_good FROM (
      SELECT w.*, CASE WHEN w.label IN ({", ".join(f"'{label}'" for label in GOOD_LABELS)}) THEN true
        WHEN w.label IN ({", ".join(f"'{label}'" for label in BAD_LABELS)}) THEN false
        ELSE w.score >= $10::numeric END AS is_good
      FROM feedback w WHERE w.task_id = t.id AND w.at < b.start + make_interval(secs => $3::int + $11::int)
        AND (w.source = 'human' OR (w.evaluator = $8::text AND w.version = $9::text))
    ) f WHERE f.is_good IS NOT NULL
    ORDER BY f.source = 'human' DESC, f.at DESC, f.id DESC LIMIT 1
  ) v ON t.status = 'succeeded' AND NOT t.synthetic"""  # noqa: S608 - only constants

_AVAILABILITY = _COUNTED.format(succeeded="'succeeded'", joined="")
_LATENCY = _COUNTED.format(succeeded=_PACE.format(seconds=_SINCE_READY), joined="")
_WORK = _COUNTED.format(succeeded=_PACE.format(seconds=_WORKED), joined="")
_ACCURACY = _COUNTED.format(succeeded=_SCORED, joined=_VERDICT)


@dataclass(frozen=True, slots=True)
class Bucket:
    """What ended in [start, start + width). `named` adds up to the counts; a name with nothing is not there."""

    start: datetime
    counts: Counts
    named: Mapping[str, int] = field(default_factory=dict)


async def read(
    connection: HotConnection, objective: Objective, span: Span, now: datetime, width_s: int = BUCKET_S
) -> list[Bucket]:
    """The buckets that begin inside the span, each counted whole, in order; without those in which nothing ended.

    `now` tells what may still be judged.
    """
    sql, values = statement(objective, span, width_s)
    rows = await connection.fetch(sql, *values)
    named: dict[datetime, dict[str, int]] = {}
    settling = Settling(objective.settle_after_s, width_s)
    for row in rows:
        name = row["name"]
        if name == "unscored" and now < settling.settles_at(row["bucket"]):
            name = "pending"
        named.setdefault(row["bucket"], {})[name] = row["n"]
    return [Bucket(start, counts_of(objective.kind, each), each) for start, each in named.items()]


async def totals(connection: HotConnection, objective: Objective, span: Span, now: datetime) -> Bucket:
    """The same, added up."""
    return total(await read(connection, objective, span, now), span.start)


def total(buckets: Iterable[Bucket], start: datetime) -> Bucket:
    """Buckets as one that begins at `start`."""
    counts, named = Counts(), dict[str, int]()
    for bucket in buckets:
        counts += bucket.counts
        for name, n in bucket.named.items():
            named[name] = named.get(name, 0) + n
    return Bucket(start, counts, named)


def counts_of(kind: Kind, named: Mapping[str, int]) -> Counts:
    """Numbers by name as counts. KeyError for a name that the kind does not have."""
    found = {"good": 0, "bad": 0, "unscored": 0, "pending": 0, "excluded": 0}
    for name, n in named.items():
        found[NAMES[kind][name]] += n
    return Counts(**found)


def settled_before(objective: Objective, now: datetime, width_s: int = BUCKET_S) -> datetime:
    """Buckets that begin before it are final: nothing that is said from `now` on changes them."""
    return now - timedelta(seconds=width_s + objective.settle_after_s)


def statement(objective: Objective, span: Span, width_s: int = BUCKET_S) -> tuple[str, tuple[Any, ...]]:
    """What `read` asks the database, and with which values."""
    found, scope = whole_buckets(span, width_s), objective.scope
    values = (found.start, found.end, width_s, scope.tenant, scope.pool, scope.label_key, scope.label_value)
    if objective.kind == "availability":
        return _AVAILABILITY, values
    if objective.kind == "latency":
        return (_LATENCY if objective.queue_wait else _WORK), (*values, objective.threshold_s)
    series = (objective.evaluator, objective.version, objective.pass_score, objective.settle_after_s)
    return _ACCURACY, (*values, *series)
