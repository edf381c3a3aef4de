"""A program: copies its standard input to a log file that never grows past a limit.

`logcopy.py PATH LIMIT_BYTES`; a full file is kept as `PATH.1`. A process of its own, so that an agent that outlives
the service never writes into a pipe that nobody reads. It ends when the last writer has closed the pipe. It imports
next to nothing, because one runs beside every replica.
"""

import os
import sys

CHUNK_BYTES = 64 * 1024


class BoundedLog:
    """Two files of at most `limit` bytes. What the disk does not take is dropped: the writer must not wait for it."""

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._file: int | None = None

    def write(self, data: bytes) -> None:
        """Append; never raises OSError."""
        for start in range(0, len(data), self._limit):
            try:
                self._append(data[start : start + self._limit])
            except OSError:
                return

    def _append(self, data: bytes) -> None:
        file = self._open() if self._file is None else self._file
        if os.fstat(file).st_size + len(data) > self._limit:
            os.close(file)
            self._file = None
            if os.path.exists(self._path):  # noqa: PTH110 - pathlib takes longer to import than this program to run
                os.replace(self._path, self._path + ".1")  # noqa: PTH105
            file = self._open()
        os.write(file, data)

    def _open(self) -> int:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return self._file


def main() -> None:
    log = BoundedLog(sys.argv[1], int(sys.argv[2]))
    while data := os.read(0, CHUNK_BYTES):
        log.write(data)


if __name__ == "__main__":
    main()
