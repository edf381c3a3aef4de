"""What can go wrong, as one line for people and an exit code for programs."""

from __future__ import annotations

from collections.abc import Sequence

from app.cli.cells import clean

FAILED, USAGE, AWAY, INTERRUPTED = 1, 2, 3, 130
"""Exit codes: task or request failed · wrong command line · no service or no key · Ctrl-C."""


class Failure(Exception):
    """Ends the command with `exit_code`; `lines` follow the message, indented."""

    def __init__(self, message: str, exit_code: int = FAILED, *, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.lines = list(lines)

    def text(self) -> str:
        """All of it, ready to print."""
        first = f"error: {clean(self.message)}"
        return "\n".join([first, *(f"  {clean(line)}" for line in self.lines)])


class Misuse(Failure):
    """The command line cannot be meant like that."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


class Away(Failure):
    """The service cannot be reached, or there is no key for it."""

    def __init__(self, message: str, *, lines: Sequence[str] = ()) -> None:
        super().__init__(message, AWAY, lines=lines)


class Refused(Failure):
    """The service answered with an error: its HTTP `status` and stable `code`."""

    def __init__(self, message: str, *, status: int, code: str, lines: Sequence[str] = ()) -> None:
        super().__init__(f"{message} ({code})", lines=lines)
        self.status = status
        self.code = code
