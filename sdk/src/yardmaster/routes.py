"""The executor contract over HTTP: `POST /execute`, `POST /cancel`, `GET /health`."""

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from yardmaster.answers import Answer, kept, refusal
from yardmaster.call import BadCallError, decode_object, parse_call, task_id_of
from yardmaster.outcome import Kept
from yardmaster.runner import RefusedError, Runner


def build_app(runner: Runner) -> Starlette:
    """The ASGI application of one agent."""

    async def execute(request: Request) -> Response:
        body = await _body(request, runner.limits.body_bytes)
        admitted = runner.admit(parse_call(body, request.headers.get("traceparent")))
        streams = _takes_events(request)
        return kept(admitted, streams=streams) if isinstance(admitted, Kept) else Answer(admitted, streams=streams)

    async def cancel(request: Request) -> Response:
        body = await _body(request, runner.limits.body_bytes)
        return JSONResponse({"cancelled": runner.cancel(task_id_of(decode_object(body)))})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": runner.status, "running": runner.running, "slots": runner.slots})

    app = Starlette(
        routes=[
            Route("/execute", execute, methods=["POST"]),
            Route("/cancel", cancel, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={RefusedError: _refused, BadCallError: _bad_call, ClientDisconnect: _gone},
    )
    app.state.runner = runner
    return app


async def _body(request: Request, limit: int) -> bytes:
    """The body, counted while it arrives; RefusedError with 413 past `limit` bytes."""
    chunks = bytearray()
    async for chunk in request.stream():
        chunks += chunk
        if len(chunks) > limit:
            raise RefusedError(413, "body_too_large", f"the body is larger than {limit} bytes")
    return bytes(chunks)


def _takes_events(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "").lower()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return refusal(error)


async def _bad_call(request: Request, error: Exception) -> Response:
    return refusal(RefusedError(400, "bad_call", str(error)))


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it: the caller left while sending
