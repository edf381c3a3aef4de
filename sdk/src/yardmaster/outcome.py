"""How an execution ended, and how that reads over HTTP and in a stream."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from yardmaster.errors import PermanentError
from yardmaster.storable import UnstorableError, encode_storable


@dataclass(frozen=True, slots=True)
class Outcome:
    """A success carries `result` (encoded JSON); a failure carries `code`, `message`, `retry` and the HTTP
    `status` it has in a plain answer (4xx: permanent; 5xx: worth another attempt); a task that waits carries
    `suspend`, the data of that event (encoded JSON), and can't be answered plainly."""

    status: int
    result: bytes = b"null"
    code: str = ""
    message: str = ""
    retry: bool = False
    suspend: bytes = b""

    @property
    def ok(self) -> bool:
        return not self.code and not self.suspend

    def error(self) -> dict[str, Any]:
        """The wire shape of a failure: {"code","message","retry"}."""
        return {"code": self.code, "message": self.message, "retry": self.retry}


@dataclass(frozen=True, slots=True)
class Kept:
    """An execution of the recent past, for a caller that asks again: `usage` is a JSON array.

    `stored` names the steps it was called with, `finished` has the encoded results of those it made.
    """

    attempt: int
    outcome: Outcome
    usage: bytes
    at: float
    fence: int = 0
    stored: frozenset[str] = frozenset()
    finished: Mapping[str, bytes] = field(default_factory=dict)
    replay: int = 0

    @property
    def size(self) -> int:
        steps = sum(len(name) + len(result) for name, result in self.finished.items())
        return len(self.outcome.result) + len(self.usage) + steps


CANCELLED = Outcome(409, code="cancelled", message="the task was cancelled")
DEADLINE = Outcome(504, code="deadline", message="the deadline passed before the handler ended", retry=True)
ABANDONED = Outcome(503, code="abandoned", message="nobody listened any more", retry=True)
INTERRUPTED = Outcome(500, code="handler_error", message="the handler cancelled itself", retry=True)
LEFT = Outcome(500, code="handler_error", message="the handler was left though its task doesn't wait", retry=True)
OUTRUN = Outcome(409, code="outrun", message="the task went on elsewhere and was called again", retry=True)
NO_STREAM = Outcome(406, code="needs_event_stream", message="steps need a manager that accepts text/event-stream")
SHUTDOWN = Outcome(503, code="shutdown", message="the agent shut down before the handler ended", retry=True)


def succeeded(result: Any) -> Outcome:
    """The outcome of a handler that returned `result`: code "bad_result" when the manager can't hold that."""
    try:
        return Outcome(200, result=encode_storable(result))
    except UnstorableError as error:
        return Outcome(422, code="bad_result", message=f"the handler's result {error}")


def failed(error: BaseException, limit: int) -> Outcome:
    """The outcome of a handler that raised; messages are cut to `limit` characters."""
    permanent = next(_permanent(error), None)
    if permanent is not None:
        return Outcome(422, code=str(permanent.code)[:100] or "permanent", message=_plain(permanent.message, limit))
    return Outcome(500, code="handler_error", message=_plain(_describe(error), limit), retry=True)


def agrees(steps: Mapping[str, Any], stored: Collection[str], finished: Mapping[str, bytes]) -> bool:
    """Whether a run that was called with `stored` and made `finished` knows all of `steps`, with these results.

    Stored results don't change, so only those it made are compared.
    """
    return all(
        name in stored or (name in finished and bool(json.loads(finished[name]) == result))
        for name, result in steps.items()
    )


def _permanent(error: BaseException) -> Iterator[PermanentError]:
    """The permanent errors that were raised: one, or those in the group of an `asyncio.TaskGroup`."""
    if isinstance(error, PermanentError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _permanent(inner)


def _plain(message: Any, limit: int) -> str:
    """Text that the manager can hold: an unreadable failure would count as a broken agent and be tried again."""
    text = str(message)[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode(errors="replace").decode()


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an exception whose own text fails must still settle the task
        return type(error).__name__
