"""What the Kubernetes API's refusals and silences mean, in codes and words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from kubernetes_asyncio.config import ConfigException

from app.scaling.backends.base import BackendError

DEFAULT_RETRY_AFTER_S = 1.0
MAX_RETRY_AFTER_S = 60.0
GATEWAY = (502, 503, 504)
CONFLICT = 409
CODES = {
    400: "invalid_launch",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    410: "expired",
    422: "invalid_launch",
    429: "throttled",
}


class ApiError(BackendError):
    """The API refused, failed, or gave no answer (`status` 0). `retry_after_s`: it asked for so long a pause."""

    def __init__(self, code: str, message: str, status: int = 0, retry_after_s: float = 0.0) -> None:
        super().__init__(code, message)
        self.status, self.retry_after_s = status, retry_after_s


def throttled(wait_s: float) -> ApiError:
    """No call is sent now."""
    text = "The Kubernetes API has too much to do (429) and asked to wait before the next call."
    return ApiError("throttled", text, 429, wait_s)


def of_answer(what: str, status: int, headers: Mapping[str, str], body: str) -> ApiError:
    """`what` was refused: a verb and a resource."""
    said = _status(body)
    message = " ".join(str(said.get("message") or body or "no reason given").split())[:1000]
    if status == 429:
        return throttled(_retry_after(headers, said))
    if status == 403 and "exceeded quota" in message:
        return ApiError("quota_exceeded", f"The namespace's quota does not allow it: {message}", status)
    code = CODES.get(status, "api_unreachable" if status in GATEWAY else "api_error")
    return ApiError(code, _sentence(status, what, message), status, _retry_after(headers, said, 0.0))


def of_event(event: Mapping[str, Any]) -> ApiError:
    """A watch's event of type ERROR: its object is a Status."""
    said = event.get("object") or {}
    return of_answer("watch", int(said.get("code") or 500), {}, json.dumps(said))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """The ways in which no answer, or half of one, comes."""
    try:
        yield
    except TimeoutError as exc:
        raise ApiError("api_unreachable", f"The Kubernetes API gives no answer in time ({what}).") from exc
    except (aiohttp.ClientError, ConfigException, OSError) as exc:
        reason = str(exc) or type(exc).__name__
        raise ApiError("api_unreachable", f"The Kubernetes API cannot be reached ({what}): {reason}") from exc
    except ValueError as exc:  # half a line, or no JSON at all
        raise ApiError("api_unreachable", f"The Kubernetes API's answer breaks off ({what}).") from exc


def _sentence(status: int, what: str, message: str) -> str:
    if status == 401:
        return f"The Kubernetes API does not accept our credentials (401, {what}): {message}"
    if status == 403:
        return f"We are not allowed to {what} (403): {message}"
    if status in (400, 422):
        return f"Kubernetes does not take the launch spec ({status}, {what}): {message}"
    return f"The Kubernetes API answers {status} ({what}): {message}"


def _status(body: str) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _retry_after(headers: Mapping[str, str], said: Mapping[str, Any], default: float = DEFAULT_RETRY_AFTER_S) -> float:
    """Seconds, by the header or else the Status; a date there is taken for the default."""
    given = headers.get("Retry-After") or (said.get("details") or {}).get("retryAfterSeconds")
    try:
        return max(0.0, min(MAX_RETRY_AFTER_S, float(given))) if given else default
    except ValueError:
        return default
