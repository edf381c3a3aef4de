"""From an answer, or the lack of one, to a `YardError`."""

from typing import Any

import httpx

from yardmaster.errors import YardError


def unreachable(url: str, error: Exception) -> YardError:
    """No answer: connection refused, broken, or too slow."""
    return YardError(0, "unreachable", f"no answer from {url}", str(error) or type(error).__name__)


def refused(answer: httpx.Response) -> YardError:
    """An answer that isn't a success, read as problem+json where it is one."""
    problem = _problem(answer)
    return YardError(
        answer.status_code,
        str(problem.get("code") or f"http_{answer.status_code}"),
        str(problem.get("title") or answer.reason_phrase),
        str(problem.get("detail") or ""),
        retry_after_s=_seconds(answer.headers.get("retry-after")),
        problem=problem,
    )


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {"detail": answer.text[:500]}
    return body if isinstance(body, dict) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:  # the header's date form, which the manager doesn't use
        return None
