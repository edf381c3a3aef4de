"""How an execution ended, and how that reads over HTTP and in a stream."""

import json
from dataclasses import dataclass
from typing import Any

from yardmaster.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Outcome:
    """A success carries `result` (encoded JSON); a failure carries `code`, `message`, `retry` and the HTTP
    `status` it has in a plain answer (4xx: permanent; 5xx: worth another attempt)."""

    status: int
    result: bytes = b"null"
    code: str = ""
    message: str = ""
    retry: bool = False

    @property
    def ok(self) -> bool:
        return not self.code

    def error(self) -> dict[str, Any]:
        """The wire shape of a failure: {"code","message","retry"}."""
        return {"code": self.code, "message": self.message, "retry": self.retry}


@dataclass(frozen=True, slots=True)
class Kept:
    """A success of the recent past, for a caller that asks again: `usage` is a JSON array."""

    attempt: int
    outcome: Outcome
    usage: bytes
    at: float

    @property
    def size(self) -> int:
        return len(self.outcome.result) + len(self.usage)


CANCELLED = Outcome(409, code="cancelled", message="the task was cancelled")
DEADLINE = Outcome(504, code="deadline", message="the deadline passed before the handler ended", retry=True)
ABANDONED = Outcome(503, code="abandoned", message="nobody listened any more", retry=True)
INTERRUPTED = Outcome(500, code="handler_error", message="the handler cancelled itself", retry=True)
SHUTDOWN = Outcome(503, code="shutdown", message="the agent shut down before the handler ended", retry=True)


def encode(value: Any) -> bytes:
    """Strict JSON (no NaN, no lone surrogates); TypeError, ValueError or RecursionError when impossible."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def succeeded(result: Any) -> Outcome:
    """The outcome of a handler that returned `result`: code "bad_result" when that isn't JSON."""
    try:
        return Outcome(200, result=encode(result))
    except (TypeError, ValueError, RecursionError) as error:
        return Outcome(422, code="bad_result", message=f"the handler's result is not JSON: {error}")


def failed(error: BaseException, limit: int) -> Outcome:
    """The outcome of a handler that raised; messages are cut to `limit` characters."""
    if isinstance(error, PermanentError):
        return Outcome(422, code=str(error.code)[:100] or "permanent", message=str(error.message)[:limit])
    return Outcome(500, code="handler_error", message=_describe(error)[:limit], retry=True)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an exception whose own text fails must still settle the task
        return type(error).__name__
