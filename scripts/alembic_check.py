"""`alembic check` on a database of its own: upgrade to head, then compare with the models."""

from __future__ import annotations

import tempfile
from pathlib import Path

from alembic import command

from app.cli.db import alembic_config, migrate
from app.embedded import EmbeddedServers


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="yard-check-") as folder:
        servers = EmbeddedServers(Path(folder) / "data")
        try:
            url = servers.start().database_url
            migrate(url)
            command.check(alembic_config(url))
        finally:
            servers.stop()


if __name__ == "__main__":
    main()
