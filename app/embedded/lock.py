"""The lock that gives a data directory one holder."""

import fcntl
import os
import time
from pathlib import Path

from app.embedded.errors import EmbeddedBusyError


class DirectoryLock:
    """An flock on a file that also names its holder.

    The kernel drops it when the holder ends, however it ends. The descriptor is not inherited over exec, so
    servers that outlive us do not keep it; a process forked without exec would, and must not be made while
    the lock is held. The file is never removed: a lock on a removed file would exclude nobody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise EmbeddedBusyError at once; OSError if the file cannot be made."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise EmbeddedBusyError(self._path.parent, self._holder()) from None
        except OSError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def held(self) -> bool:
        """Whether we hold the lock that others try: not once the directory was removed under us."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _holder(self) -> int | None:
        """The pid in the file; a holder writes it right after locking, so wait that moment."""
        for _ in range(10):
            text = self._path.read_text(errors="replace").strip()
            if text.isdecimal():
                return int(text)
            time.sleep(0.01)
        return None
