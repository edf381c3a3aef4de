"""Looking at embedded servers from outside: their processes, their data, a holder in another process."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

NAMES = {"postgres", "redis-server"}


@dataclass
class Holder:
    """A process of its own that holds a data directory, with what it reported."""

    process: subprocess.Popen[str]
    database_url: str
    redis_url: str

    def kill(self) -> None:
        """kill -9, as an operator or the OOM killer does it: the servers stay behind."""
        self.process.kill()
        self.process.communicate()


def servers_below(root: Path) -> list[psutil.Process]:
    """Every living server process that works somewhere under `root`."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] in NAMES and Path(process.cwd()).is_relative_to(root):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


def execute(database_url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def value(database_url: str, query: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())
