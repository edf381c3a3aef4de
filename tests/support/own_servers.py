"""A PostgreSQL and a Redis that one test may kill."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.cli.db import make_admin_key, migrate
from app.embedded import EmbeddedServers
from app.settings import AuthSettings, DatabaseSettings, Settings
from tests.support.folders import server_folder
from tests.support.service import Backing, new_pepper


@dataclass
class OwnServers:
    """Embedded servers below `folder`, migrated, with a key: everything a manager needs."""

    folder: Path
    servers: EmbeddedServers
    backing: Backing

    def kill(self, name: str) -> None:
        """kill -9 of "postgres" (the postmaster; its backends end by themselves) or "redis-server"."""
        (process,) = (child for child in psutil.Process().children() if self._is_ours(child, name))
        process.kill()
        process.wait()

    def restart(self) -> None:
        """Start what is dead."""
        assert self.servers.check().down == ()

    def _is_ours(self, process: psutil.Process, name: str) -> bool:
        try:
            return process.name() == name and Path(process.cwd()).is_relative_to(self.folder)
        except (psutil.Error, OSError):
            return False


@contextlib.contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Started with a migrated database and an admin's key; stopped at the end."""
    with server_folder("yard-own-") as folder:
        servers = EmbeddedServers(folder / "data")
        try:
            urls = servers.start()
            migrate(urls.database_url)
            pepper = new_pepper()
            settings = Settings(database=DatabaseSettings(url=urls.database_url), auth=AuthSettings(pepper=pepper))
            key = asyncio.run(make_admin_key(settings, "tests", "default"))
            yield OwnServers(folder, servers, Backing(urls.database_url, urls.redis_url, key, pepper))
        finally:
            servers.stop()
