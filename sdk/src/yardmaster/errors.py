"""The errors an author raises and a caller catches."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yardmaster.waits import Decision


class PermanentError(Exception):
    """Raised by a handler: the task fails now, another attempt would fail the same way.

    `code` is a stable machine word ("empty_log"), `message` is for people. The manager does not retry.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code


class ChildFailed(PermanentError):
    """A child task gave no result: `task_id`, its final `status`, and `error` {"code","message"} or None.

    A child that succeeded is among them when its result is too large for its caller: `status` "succeeded", the
    error's code "result_too_large". Code "child_failed". Not caught, it fails this task too.
    """

    def __init__(self, task_id: str, status: str, error: dict[str, Any] | None) -> None:
        why = f": {error.get('code')}: {error.get('message')}" if error else ""
        how = f"{status}, but without a result" if status == "succeeded" else status
        super().__init__("child_failed", f"child task {task_id} {how}{why}")
        self.task_id = task_id
        self.status = status
        self.error = error


class ApprovalRejected(PermanentError):
    """Somebody said no: `decision` says who and why. Code "approval_rejected"."""

    def __init__(self, action: str, decision: "Decision") -> None:
        why = f": {decision.reason}" if decision.reason else ""
        super().__init__("approval_rejected", f"{action} was rejected by {decision.decided_by}{why}")
        self.action = action
        self.decision = decision


class ApprovalExpired(PermanentError):
    """Nobody decided in time. Code "approval_expired"."""

    def __init__(self, action: str, decision: "Decision") -> None:
        super().__init__("approval_expired", f"nobody decided about {action} in time")
        self.action = action
        self.decision = decision


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
