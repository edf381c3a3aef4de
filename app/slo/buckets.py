"""Counts that are kept: what an objective's minutes were, so that windows of days are sums of rows and not of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.core.db import HotConnection
from app.core.jsonbody import dump_json
from app.slo.budget import Counts
from app.slo.counts import Bucket
from app.slo.windows import Span, whole_buckets

_CLEAR = "DELETE FROM slo_buckets WHERE slo_id = $1 AND start >= $2 AND start < $3"
_FILL = """
INSERT INTO slo_buckets (slo_id, start, good, bad, unscored, pending, excluded, named)
SELECT $1, b.start, b.good, b.bad, b.unscored, b.pending, b.excluded, b.named
FROM unnest($2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::json[])
  AS b(start, good, bad, unscored, pending, excluded, named)
"""
_SUMS = """
SELECT COALESCE(sum(b.good), 0)::bigint AS good, COALESCE(sum(b.bad), 0)::bigint AS bad,
  COALESCE(sum(b.unscored), 0)::bigint AS unscored, COALESCE(sum(b.pending), 0)::bigint AS pending,
  COALESCE(sum(b.excluded), 0)::bigint AS excluded
FROM unnest($2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS w(begin, until, ord)
LEFT JOIN slo_buckets b ON b.slo_id = $1 AND b.start >= w.begin AND b.start < w.until
GROUP BY w.ord ORDER BY w.ord
"""


async def replace(connection: HotConnection, slo_id: UUID, span: Span, buckets: Sequence[Bucket]) -> None:
    """Have exactly these buckets in the span, in the caller's transaction."""
    whole = whole_buckets(span)
    await connection.execute(_CLEAR, slo_id, whole.start, whole.end)
    counts = [bucket.counts for bucket in buckets]
    await connection.execute(
        _FILL,
        slo_id,
        [bucket.start for bucket in buckets],
        [each.good for each in counts],
        [each.bad for each in counts],
        [each.unscored for each in counts],
        [each.pending for each in counts],
        [each.excluded for each in counts],
        [dump_json(dict(bucket.named)) for bucket in buckets],
    )


async def sums(connection: HotConnection, slo_id: UUID, spans: Sequence[Span]) -> list[Counts]:
    """What was counted in each span, by the buckets that begin inside it, in one statement."""
    whole = [whole_buckets(span) for span in spans]
    rows = await connection.fetch(_SUMS, slo_id, [span.start for span in whole], [span.end for span in whole])
    return [Counts(**dict(row)) for row in rows]
