"""A process that holds a data directory until its standard input ends: `holder.py DIR [UID]`.

Prints the URLs as one JSON object. With UID it becomes that user first, after importing everything, because
the interpreter may lie where that user cannot read.
"""

import asyncio
import dataclasses
import encodings.idna  # noqa: F401 - needed by asyncio's connections, otherwise imported late
import json
import logging
import os
import sys
from pathlib import Path

import asyncpg
import structlog

from app.embedded import EmbeddedServers


def become(uid: int) -> None:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


async def answers(database_url: str) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval("SELECT true")
    finally:
        await connection.close()


def main(data_dir: Path, uid: int | None) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if uid is not None:
        become(uid)
    with EmbeddedServers(data_dir) as servers:
        assert asyncio.run(answers(servers.urls.database_url))
        print(json.dumps(dataclasses.asdict(servers.urls)), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
