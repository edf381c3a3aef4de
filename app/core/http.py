"""The HTTP edge: strict JSON bodies, bounded bodies, problem+json for every error, page tokens."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, cast

import asyncpg
import orjson
import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import BadPageToken, Invalid, NullByte, Problem, Unavailable
from app.core.jsonbody import dump_bytes, parse_json

log = structlog.get_logger()

PROBLEM_JSON = "application/problem+json"

DATABASE_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that broke in the middle of a message
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.LockNotAvailableError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.TimeoutError,
)
"""What a request or a batch sees when PostgreSQL is down, restarting or out of connections."""


def is_database_away(exc: BaseException) -> bool:
    """Whether it is one of DATABASE_AWAY, or SQLAlchemy's word for one: it has a name of its own for few of them."""
    if isinstance(exc, sqlalchemy.exc.DBAPIError) and exc.orig is not None:
        return exc.connection_invalidated or isinstance(exc.orig.__cause__, DATABASE_AWAY)
    return isinstance(exc, DATABASE_AWAY)


def is_bad_row(exc: Exception) -> bool:
    """Whether PostgreSQL refused what was written, rather than being away: one row of a batch may be to blame."""
    return isinstance(exc, asyncpg.PostgresError) and not isinstance(exc, DATABASE_AWAY)


class JsonResponse(JSONResponse):
    """JSON by orjson. A JSONResponse, so that OpenAPI shows the models of what it carries."""

    def render(self, content: Any) -> bytes:
        return dump_bytes(content)


class ProblemResponse(JsonResponse):
    media_type = PROBLEM_JSON


class BodyTooLarge(Problem):
    status, code, title = 413, "body_too_large", "Request body too large"


type Endpoint = Callable[..., Coroutine[Any, Any, Any]]

type Reader = Callable[[Request, Any], Awaitable[dict[str, Any] | None]]
"""From a request without a query, and its JSON body: the endpoint's arguments, or None to let FastAPI read them."""


def quick(read: Reader) -> Callable[[Endpoint], Endpoint]:
    """Let `read` find the arguments of an endpoint that is called thousands of times a second.

    FastAPI's solving of dependencies costs several times what such an endpoint does. `read` handles plain requests and
    answers None for all others, wrong ones included: those go FastAPI's way, so that every error is the same.
    The endpoint must return a Response.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.read_quickly = read  # type: ignore[attr-defined]
        return endpoint

    return mark


class StrictRoute(APIRoute):
    """A route whose JSON body is parsed by `parse_json`, and that takes no query parameter it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        endpoint: Endpoint = self.endpoint
        read: Reader | None = getattr(endpoint, "read_quickly", None)
        known = _query_names(self)

        async def strict(request: Request) -> Response:
            plain = True
            if request.scope["query_string"] or b"%00" in request.scope.get("raw_path", b""):
                _check_query(request, known)
                plain = False
            kind = _content_type(request.scope).lower()
            if b"json" in kind:
                # Parsed before FastAPI looks: it would turn our problems into a 400 of its own.
                body = await request.body()
                if body:
                    request._json = parse_json(body)
                    if (
                        read is not None
                        and plain
                        and _is_json(kind)
                        and (arguments := await read(request, request._json)) is not None
                    ):
                        return cast("Response", await endpoint(**arguments))
            return await handler(request)

        return strict


def validated[T: BaseModel](model: type[T], value: Any) -> T | None:
    """The model of a parsed JSON value; None where it does not fit."""
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _content_type(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bytes(value)
    return b""


def _is_json(kind: bytes) -> bool:
    """Whether FastAPI would take a body of this content type for JSON."""
    plain = kind.partition(b";")[0].strip()
    return plain == b"application/json" or (plain.startswith(b"application/") and plain.endswith(b"+json"))


def _query_names(route: APIRoute) -> frozenset[str]:
    names: set[str] = set()
    pending = [route.dependant]
    while pending:
        dependant = pending.pop()
        names.update(param.alias for param in dependant.query_params)
        pending.extend(dependant.dependencies)
    return frozenset(names)


def _check_query(request: Request, known: frozenset[str]) -> None:
    if "\x00" in request.url.path:
        raise NullByte("The path contains a null byte.")
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise Invalid(
                f"Unknown query parameter {name!r}.", extra={"errors": [{"path": name, "message": "unknown"}]}
            )
        if "\x00" in value:
            raise NullByte(f"The query parameter {name!r} contains a null byte.")


class BodyLimit:
    """Counts the bytes of request bodies, whatever Content-Length says: 413 past the limit of one, and 503 when all
    that are being served together are past `max_total_bytes`, so that a crowd of large ones cannot take the memory."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_total_bytes: int) -> None:
        self.app = app
        self.max_bytes, self.max_total_bytes = max_bytes, max_total_bytes
        self.total = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                seen += size
                self.total += size
                if seen > self.max_bytes:
                    raise self._too_large()
                if self.total > self.max_total_bytes:
                    raise Unavailable("Too many large requests at once; try again shortly.")
            return message

        if self._declared(scope) > self.max_bytes:
            problem = self._too_large()
            response = problem_response(problem, scope["path"])
            await response(scope, receive, send)
            return
        try:
            await self.app(scope, counted, send)
        finally:
            self.total -= seen

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body is larger than {self.max_bytes} bytes.", headers={"Connection": "close"})

    @staticmethod
    def _declared(scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length":
                return int(value[:20]) if value.isdigit() else 0  # int() refuses thousands of digits
        return 0


def problem_response(problem: Problem, instance: str) -> ProblemResponse:
    """The response for a problem raised while serving the path `instance`."""
    return ProblemResponse(problem.body(instance), status_code=problem.status, headers=problem.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error as problem+json; log only those that are our fault."""

    async def on_problem(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return problem_response(exc, request.url.path)

    async def on_validation(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return problem_response(invalid_from(exc.errors()), request.url.path)

    async def on_http(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        return problem_response(_from_http(exc), request.url.path)

    async def on_database(request: Request, exc: Exception) -> Response:
        log.warning("database_unavailable", path=request.url.path, error=repr(exc))
        return problem_response(
            Unavailable("The database is not available right now; try again (with an Idempotency-Key, safely)."),
            request.url.path,
        )

    async def on_statement(request: Request, exc: Exception) -> Response:
        return await (on_database if is_database_away(exc) else on_bug)(request, exc)

    async def on_bug(request: Request, exc: Exception) -> Response:
        log.error("request_failed", path=request.url.path, method=request.method, exc_info=exc)
        return problem_response(Problem("An unexpected error happened; it was logged."), request.url.path)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    for error in DATABASE_AWAY:
        app.add_exception_handler(error, on_database)
    app.add_exception_handler(sqlalchemy.exc.DBAPIError, on_statement)
    app.add_exception_handler(Exception, on_bug)


def invalid_from(errors: Sequence[Mapping[str, Any]]) -> Invalid:
    """Pydantic's errors as one problem that names each path."""
    listed = [{"path": _path(error["loc"]), "message": str(error["msg"])} for error in errors[:50]]
    first = listed[0] if listed else {"path": "", "message": "invalid"}
    where = f"{first['path']}: " if first["path"] else ""
    return Invalid(f"{where}{first['message']}", extra={"errors": listed})


def _path(loc: Sequence[str | int]) -> str:
    parts = loc[1:] if loc and loc[0] in ("body", "query", "path", "header") else loc
    return ".".join(str(part) for part in parts)


_HTTP_CODES = {400: "bad_request", 404: "route_not_found", 405: "method_not_allowed", 413: "body_too_large"}


def _from_http(exc: HTTPException) -> Problem:
    problem = Problem(str(exc.detail), headers=exc.headers)
    problem.status = exc.status_code
    problem.title = str(exc.detail)
    problem.code = _HTTP_CODES.get(exc.status_code, "http_error")
    return problem


def encode_page_token(*parts: str) -> str:
    """An opaque cursor for the next page: the list's name, and where this page ended."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_page_token(token: str, size: int) -> list[str]:
    """The `size` parts of a token made by `encode_page_token`; raises BadPageToken."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        raise BadPageToken("The page token was not made by this service.") from None
    if not isinstance(parts, list) or len(parts) != size or not all(_is_text(part) for part in parts):
        raise BadPageToken("The page token does not belong to this list.")
    return parts


def resume_after(token: str, of: str) -> str:
    """Where the last page of the list `of` ended; raises BadPageToken, for another list's token too."""
    name, last = decode_page_token(token, 2)
    if name != of:
        raise BadPageToken("The page token does not belong to this list.")
    return last


def _is_text(part: object) -> bool:
    return isinstance(part, str) and "\x00" not in part  # PostgreSQL cannot compare with a null byte


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the problem statuses of an operation."""
    return {status: _PROBLEM_DOCS[status] for status in statuses}


def created(model: type[BaseModel], description: str = "It is new") -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of a PUT that answers 201 where there was nothing to replace."""
    return {201: {"model": model, "description": description}}


def _doc(status: int, text: str, code: str) -> dict[str, Any]:
    example = {
        "type": f"urn:yardmaster:problem:{code}",
        "title": text,
        "status": status,
        "code": code,
        "detail": text + ".",
        "instance": "/v1/…",
    }
    doc: dict[str, Any] = {
        "description": text,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in (429, 503):
        doc["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait"}}
    return doc


_PROBLEM_DOCS = {
    400: _doc(400, "Malformed request", "malformed_json"),
    401: _doc(401, "No valid key", "unauthenticated"),
    403: _doc(403, "The key lacks a scope", "forbidden"),
    404: _doc(404, "No such thing, or not yours", "not_found"),
    409: _doc(409, "Conflicts with the current state", "conflict"),
    413: _doc(413, "Request body too large", "body_too_large"),
    422: _doc(422, "Invalid request", "validation_error"),
    429: _doc(429, "Too many requests", "rate_limited"),
    503: _doc(503, "Temporarily unavailable", "unavailable"),
}

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details. `code` is stable; `detail` is for people.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"path": {"type": "string"}, "message": {"type": "string"}}},
        },
    },
}


PageSize = Annotated[int, Query(ge=1, le=500, examples=[50])]
PageToken = Annotated[
    str | None,
    Query(max_length=500, description="`next_page_token` of the page before.", examples=[encode_page_token("…", "…")]),
]
"""Parameters of a list: how many, and from where on."""
