"""Errors as the API server answers them: an HTTP code and a `Status` object with reason, message and details."""

from __future__ import annotations

from typing import Any

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """Answered as it is: `status` is the body, `headers` go beside it."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.status = status_object(code, message, reason, details)


def status_object(
    code: int, message: str, reason: str | None = None, details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A `v1.Status` of a failure."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    status |= {"message": message, "reason": reason or REASONS.get(code, "InternalError"), "code": code}
    if details:
        status["details"] = details
    return status


def success(kind: str, group: str, name: str, uid: str) -> dict[str, Any]:
    """A `v1.Status` of a finished deletion."""
    details = {"name": name, "group": group, "kind": kind, "uid": uid}
    if not group:
        del details["group"]
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def named(group: str, plural: str, name: str) -> dict[str, Any]:
    """`details` that name an object; the core group is left out, as the server does."""
    details = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in details.items() if value}


def qualified(group: str, plural: str) -> str:
    """`deployments.apps`, or `pods` of the core group."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    return ApiError(404, f'{qualified(group, plural)} "{name}" not found', details=named(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> ApiError:
    message = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, message, reason="AlreadyExists", details=named(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return ApiError(409, message, details=named(group, plural, name))


def invalid(group: str, kind: str, name: str, causes: list[tuple[str, str, str]]) -> ApiError:
    """422 with one cause for each (reason, field path, message)."""
    texts = [f"{field}: {message}" for _, field, message in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = named(group, kind, name)
    details["causes"] = [{"reason": reason, "message": message, "field": field} for reason, field, message in causes]
    return ApiError(422, f'{qualified(group, kind)} "{name}" is invalid: {text}', details=details)


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    where = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    return ApiError(403, f"{where} is forbidden: {why}", details=named(group, plural, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def expired(message: str) -> ApiError:
    return ApiError(410, message, reason="Expired")
