"""A server's log file: opened by us, written by the server, bounded in size, its tail shown in errors."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

LIMIT_BYTES = 32 * 1024 * 1024
TAIL_BYTES = 8 * 1024


class ServerLog:
    """One log. The server inherits an append-only descriptor, so it needs no right to the directory, and what
    it says before it has read its configuration is caught too."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._mark = 0

    def open(self) -> BinaryIO:
        """A descriptor for the server; `tail` shows only what is written from now on."""
        self.trim()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._mark = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "wb", buffering=0)

    def tail(self, lines: int = 20) -> str:
        """The last lines since `open`, at most TAIL_BYTES; empty if there are none."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._mark, end - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def trim(self) -> None:
        """Keep a full log as `.1` and go on with an empty one.

        The writer has the file open and is not told, hence copy and truncate; in append mode it goes on at
        the new end. Lines of the moment between the two may be lost.
        """
        if not self.path.exists() or self.path.stat().st_size <= self._limit_bytes:
            return
        shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
        os.truncate(self.path, 0)
        self._mark = 0
