"""The hand-tuned loop: what one Python process can do at most, with nothing of a product around it.

Batches of 100 in, claims of 50 by SKIP LOCKED, 64 calls in flight by aiohttp, results written in batches.
"""

from __future__ import annotations

import asyncio
import time

import aiohttp
import asyncpg
import orjson

TABLE = """
DROP TABLE IF EXISTS reference;
CREATE TABLE reference (id bigint PRIMARY KEY, payload json NOT NULL, status text NOT NULL, result json)
  WITH (fillfactor = 80);
CREATE INDEX reference_ready ON reference (id) WHERE status = 'queued';
"""
INSERT = """
INSERT INTO reference (id, payload, status) SELECT i, p, 'queued' FROM unnest($1::bigint[], $2::json[]) t(i, p)
"""
CLAIM = """
WITH ready AS (SELECT id FROM reference WHERE status = 'queued' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
UPDATE reference r SET status = 'running' FROM ready WHERE r.id = ready.id RETURNING r.id, r.payload
"""
FINISH = """
UPDATE reference r SET status = 'succeeded', result = d.result FROM unnest($1::bigint[], $2::json[]) d(id, result)
WHERE r.id = d.id
"""
CLAIM_SIZE, IN_FLIGHT, BATCH = 50, 64, 100


async def run(database_url: str, executor_url: str, count: int) -> float:
    """Tasks per second to dispatch `count` inserted tasks and store their results."""
    pool = await asyncpg.create_pool(database_url, min_size=3, max_size=3)
    payload = orjson.dumps({"text": "x" * 180}).decode()
    await pool.execute(TABLE)
    for first in range(0, count, BATCH):
        ids = list(range(first, min(count, first + BATCH)))
        await pool.execute(INSERT, ids, [payload] * len(ids))
    started = time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _dispatch(pool, session, executor_url)
    elapsed = time.monotonic() - started
    assert await pool.fetchval("SELECT count(*) FROM reference WHERE status = 'succeeded'") == count
    await pool.close()
    return count / elapsed


async def _dispatch(pool: asyncpg.Pool, session: aiohttp.ClientSession, url: str) -> None:
    claimed: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue(CLAIM_SIZE * 2)
    done: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()

    async def claim() -> None:
        while rows := await pool.fetch(CLAIM, CLAIM_SIZE):
            for row in rows:
                await claimed.put((row["id"], row["payload"]))
        for _ in range(IN_FLIGHT):
            await claimed.put(None)

    async def call() -> None:
        while (task := await claimed.get()) is not None:
            async with session.post(url + "/execute", data=task[1]) as response:
                await done.put((task[0], (await response.read()).decode()))

    async def finish() -> None:
        over = False
        while not over:
            batch = [await done.get()]
            while not done.empty() and len(batch) < BATCH:
                batch.append(done.get_nowait())
            over = None in batch
            rows = [item for item in batch if item is not None]
            if rows:
                await pool.execute(FINISH, [row[0] for row in rows], [row[1] for row in rows])

    finisher = asyncio.create_task(finish())
    await asyncio.gather(claim(), *(call() for _ in range(IN_FLIGHT)))
    await done.put(None)
    await finisher
