"""The errors an author raises and a caller catches."""

from typing import Any


class PermanentError(Exception):
    """Raised by a handler: the task fails now, another attempt would fail the same way.

    `code` is a stable machine word ("empty_log"), `message` is for people. The manager does not retry.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code


class YardError(Exception):
    """A call to the manager that did not succeed.

    From the answer's RFC 9457 problem: `status` (HTTP status, 0 when there was no answer at all), `code`
    (stable word; "unreachable" without an answer, "timeout" when `Client.wait` gave up), `title`, `detail`,
    `retry_after_s` (seconds from Retry-After, else None) and `problem` (the whole problem object).
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        retry_after_s: float | None = None,
        problem: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail or title}" if status else f"{code}: {detail or title}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.problem = problem or {}
