"""Where things are under the data directory, and where the sockets go when that path cannot serve as one."""

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.embedded.account import Account, give, open_path
from app.embedded.errors import EmbeddedStartError

POSTGRES_SOCKET = ".s.PGSQL.5432"
REDIS_SOCKET = "redis.sock"

SOCKET_PATH_BYTES = 100
"""Longest socket path used. Linux takes 107 bytes, macOS 103; the lock file beside it needs none of them."""

_PLAIN = re.compile(r"[A-Za-z0-9._/ -]+")
"""Paths that configuration files and URL parsers all read alike (asyncpg splits at commas)."""


@dataclass(frozen=True)
class DataDirectory:
    """The paths of one data directory, absolute and without symlinks; `sockets` exists after `prepare`."""

    root: Path
    sockets: Path

    @classmethod
    def at(cls, root: Path) -> "DataDirectory":
        """The layout for `root`, which need not exist yet. The same root always gives the same paths."""
        resolved = root.expanduser().resolve()
        return cls(resolved, _socket_directory(resolved))

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def cluster(self) -> Path:
        return self.root / "postgres"

    @property
    def new_cluster(self) -> Path:
        """Where initdb works until the cluster is complete."""
        return self.root / "postgres.new"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def prepare(self, account: Account | None) -> None:
        """Create what is missing and let `account` (None: ourselves) reach and own what the servers write.

        Raises OSError, or EmbeddedStartError when somebody else owns the socket directory.
        """
        self.logs.mkdir(mode=0o700, exist_ok=True)
        self.redis.mkdir(mode=0o700, exist_ok=True)
        _private_directory(self.sockets, account)
        if account is not None:
            for directory in (self.cluster, self.redis, self.sockets):
                give(directory, account)
                open_path(directory, account)


def _socket_directory(root: Path) -> Path:
    """The first candidate whose socket paths are short and plain enough."""
    for candidate in _socket_candidates(root):
        longest = candidate / POSTGRES_SOCKET
        if len(os.fsencode(longest)) <= SOCKET_PATH_BYTES and _PLAIN.fullmatch(str(longest)):
            return candidate
    raise EmbeddedStartError("no directory is short enough for a socket: set TMPDIR to a short path")


def _socket_candidates(root: Path) -> Iterator[Path]:
    """DIR/run, then directories named after DIR, so that each DIR has its own and finds it again."""
    yield root / "run"
    digest = hashlib.sha256(os.fsencode(root) + str(os.geteuid()).encode()).hexdigest()[:12]
    yield Path(tempfile.gettempdir()).resolve() / f"yard-{digest}"
    yield Path("/tmp").resolve() / f"yard-{digest}"  # noqa: S108 - created private, checked for its owner


def _private_directory(path: Path, account: Account | None) -> None:
    """Create `path` for us alone. Its name under temp can be guessed, so an existing one is checked."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    owners = {os.geteuid()} | ({account.uid} if account is not None else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedStartError(f"{path} is needed for sockets but belongs to somebody else: remove it")
    path.chmod(0o700)
