"""The one error that reaches a caller: RFC 9457 problem details with a stable `code`."""

from __future__ import annotations

from collections.abc import Mapping


class Problem(Exception):
    """Raise to answer a request with `status` and `code`. Domains subclass it next to where it is raised.

    `extra` is added to the JSON body, `headers` to the response.
    """

    status: int = 500
    code: str = "internal_error"
    title: str = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def body(self, instance: str) -> dict[str, object]:
        """The problem+json object for a request to the path `instance`."""
        return {
            "type": f"urn:yardmaster:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "instance": instance,
            **self.extra,
        }


class BadRequest(Problem):
    status, code, title = 400, "bad_request", "Bad request"


class MalformedJson(Problem):
    status, code, title = 400, "malformed_json", "Malformed JSON"


class BadPageToken(Problem):
    status, code, title = 400, "bad_page_token", "Bad page token"


class NotFound(Problem):
    status, code, title = 404, "not_found", "Not found"


class Conflict(Problem):
    status, code, title = 409, "conflict", "Conflict"


class Invalid(Problem):
    """Well-formed, but not acceptable. `extra["errors"]` lists `{"path", "message"}`."""

    status, code, title = 422, "validation_error", "Invalid request"


class NullByte(Invalid):
    code, title = "null_byte", "Null byte in text"


class Unavailable(Problem):
    """A passing fault of ours: try again."""

    status, code, title = 503, "unavailable", "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after_s)))})
