"""Verbs of prices. Each hints the managers in the transaction that writes the row, and has what was used since priced
again (`recost.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import uuid_utils

from app.core.clock import Clock
from app.core.db import Database
from app.core.errors import BadPageToken, NotFound
from app.core.jsonbody import dump_json
from app.core.wake import notify
from app.costs.prices import COLUMNS, TOPIC, InForce, Override, PriceBook

RECOST_TOPIC = "recosts"

_INSERT = f"""
INSERT INTO prices (id, model, effective_from, unit_prices, note, created_by, created_at)
VALUES ($1, $2, coalesce($3::timestamptz, clock_timestamp()), $4::json, $5, $6, clock_timestamp())
RETURNING {COLUMNS}
"""  # noqa: S608 - only constants
# Up to the next price of the model. Without one, a little past the present: other managers read the new price within
# `$5` seconds, and until then they price as before.
_RECOST = """
INSERT INTO recosts (id, model, from_at, until_at, created_by)
SELECT $1, $2, $3, least(n.next, clock_timestamp() + $5 * interval '1 second'), $4
FROM (SELECT min(effective_from) AS next FROM prices WHERE model = $2 AND effective_from > $3) n
WHERE $3 <= clock_timestamp()
"""
_PAGE = f"""
SELECT {COLUMNS} FROM prices
WHERE ($1::uuid IS NULL OR (model, effective_from, id) > (SELECT model, effective_from, id FROM prices WHERE id = $1))
  AND ($2::text IS NULL OR model = $2)
ORDER BY model, effective_from, id LIMIT $3
"""  # noqa: S608


class PriceNotFound(NotFound):
    code, title = "price_not_found", "No such price"


class UnpricedModel(NotFound):
    code, title = "unpriced_model", "Nobody knows a price of this model"


class Prices:
    """Set, end and list operators' prices; admins only. `settle_s`: after so long every manager uses a new price."""

    def __init__(self, db: Database, book: PriceBook, clock: Clock, settle_s: float) -> None:
        self._db, self._book, self._clock, self._settle_s = db, book, clock, settle_s

    async def put(
        self, model: str, unit_prices: Mapping[str, Decimal], effective_from: datetime | None, note: str, by: str
    ) -> Override:
        """From `effective_from` (None: now) on the model costs this. What was used since is priced again."""
        text = dump_json({name: format(price, "f") for name, price in unit_prices.items()})
        return await self._write(model, effective_from, text, note, by)

    async def end(self, model: str, at: datetime | None, by: str) -> Override:
        """From `at` (None: now) on the package's price counts again; raises PriceNotFound where none is in force."""
        await self._book.refresh()
        moment = at or self._clock.now()
        if self._book.override(model, moment) is None:
            raise PriceNotFound(f"No price of your own is in force for {model!r} at {moment.isoformat()}.")
        return await self._write(model, at, None, "", by)

    async def _write(self, model: str, since: datetime | None, prices: str | None, note: str, by: str) -> Override:
        async with self._db.hot() as connection, connection.transaction():
            row = await connection.fetchrow(_INSERT, _new_id(), model, since, prices, note, by)
            assert row is not None
            await connection.execute(_RECOST, _new_id(), model, row["effective_from"], by, self._settle_s)
            await notify(connection, TOPIC)
            await notify(connection, RECOST_TOPIC)
        await self._book.refresh()
        return Override.of(dict(row))

    async def in_force(self, model: str, at: datetime) -> InForce:
        """The price list of a model at a moment; raises UnpricedModel."""
        await self._book.refresh()
        found = self._book.in_force(model, at)
        if found is None:
            raise UnpricedModel(
                f"Nobody knows what {model!r} costs at {at.isoformat()}. Set its price: PUT /v1/prices/{model}"
            )
        return found

    async def page(self, model: str | None, after: str | None, limit: int) -> list[Override]:
        """Operators' prices, ended ones too, by model and moment. `after`: the id at which the page before ended."""
        async with self._db.read() as connection:
            rows = await connection.fetch(_PAGE, _id_of(after), model, limit)
        return [Override.of(dict(row)) for row in rows]


def _id_of(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise BadPageToken("The page token is damaged.") from None


def _new_id() -> UUID:
    return UUID(bytes=uuid_utils.uuid7().bytes)
