"""One manager of several: `python -m app.cli.worker FD`, started by the supervisor with its listening socket."""

from __future__ import annotations

import socket
import sys

from app.cli.workers import run_one
from app.core.telemetry import set_up_logs
from app.settings import Settings


def main() -> int:
    """Serve on the inherited socket until a signal."""
    settings = Settings()
    set_up_logs(settings.telemetry)
    return run_one(settings, socket.socket(fileno=int(sys.argv[1])), ends_processes=False)


if __name__ == "__main__":
    raise SystemExit(main())
