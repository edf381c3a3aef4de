"""Server processes: start one, find those that an earlier holder left, and end them within a bounded time."""

import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

from app.embedded.account import Account

type Ladder = Sequence[tuple[signal.Signals, float]]
"""Signals to try in turn, each with the seconds it gets to work."""

AT_ONCE: Ladder = ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_KEPT_ENVIRONMENT = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def server_environment() -> dict[str, str]:
    """What a server sees of our environment: neither our secrets nor PG* variables that would redirect it."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def spawn(command: Sequence[str], *, cwd: Path, log: BinaryIO, account: Account | None) -> psutil.Popen:
    """Start a server in a session of its own, so that signals of our terminal do not reach it.

    `cwd` is also what `leftovers` knows it by. Raises OSError if it cannot be executed.
    """
    return psutil.Popen(
        list(command),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=server_environment(),
        start_new_session=True,
        umask=0o077,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )


def leftovers(names: Collection[str], cwd: Path) -> list[psutil.Process]:
    """Living processes with one of these names that work in `cwd`.

    The process table cannot be stale as a pid file can. A process we may not look into is not ours: the
    servers run as ourselves or we are root.
    """
    return list(_working_in(names, str(cwd)))


def _working_in(names: Collection[str], cwd: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] not in names:
            continue
        try:
            if process.cwd() == cwd and not has_ended(process):
                yield process
        except (psutil.Error, OSError):
            continue


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more; a zombie, which nobody may ever collect in a container, has ended too."""
    if isinstance(process, psutil.Popen):
        return process.poll() is not None
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end(process: psutil.Process, ladder: Ladder) -> bool:
    """Signal along the ladder until the process has ended; False if it outlived the last signal."""
    for number, seconds in ladder:
        if has_ended(process):
            return True
        try:
            process.send_signal(number)  # psutil compares the creation time first: never a recycled pid
        except psutil.NoSuchProcess:
            return True
        if ended_within(process, seconds):
            return True
    return has_ended(process)


def ended_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    pause = 0.005
    while not has_ended(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
    return True
