"""What can go wrong with the embedded servers, in words for the person who starts the service."""

from pathlib import Path


class EmbeddedError(Exception):
    """Base of all errors of this package; its text is fit for a terminal."""


class EmbeddedBusyError(EmbeddedError):
    """Another process holds the data directory. `pid` is None while that process has not yet written it."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        self.data_dir = data_dir
        self.pid = pid
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"{data_dir} is in use by {holder}: stop it, or choose another data directory")


class EmbeddedStartError(EmbeddedError):
    """A server could not be started. `log_tail` is what it logged in this attempt, empty if it never ran."""

    def __init__(self, reason: str, log_tail: str = "") -> None:
        self.log_tail = log_tail
        super().__init__(f"{reason}\n{log_tail}".rstrip())


class EmbeddedVersionError(EmbeddedStartError):
    """The cluster was made by another major version of PostgreSQL, which cannot be opened in place."""

    def __init__(self, cluster: Path, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{cluster} was made by PostgreSQL {found}, this release brings {wanted}. Dump it with the "
            "release that made it (pg_dump) and restore into a new data directory, or start with another one"
        )
