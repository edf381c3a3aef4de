"""The answers of `POST /execute`: one JSON document, or a stream of events that ends with the outcome."""

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from yardmaster.eventlog import step_frame
from yardmaster.execution import Execution
from yardmaster.outcome import NO_STREAM, Kept, Outcome
from yardmaster.runner import RefusedError
from yardmaster.sse import PING, frame
from yardmaster.storable import encode

RETRY_SOON_S = 1


def refusal(error: RefusedError) -> Response:
    """A call that wasn't taken, as RFC 9457 problem; "error" repeats it in the contract's own shape."""
    retry = error.retry_after_s is not None
    problem = {
        "type": "about:blank",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "error": {"code": error.code, "message": error.message, "retry": retry},
    }
    headers = {"Retry-After": str(error.retry_after_s)} if retry else {}
    return Response(encode(problem), error.status, headers, "application/problem+json")


def document(outcome: Outcome, usage: bytes) -> Response:
    """The plain answer: {"result","usage"}, or {"error","usage"} with the outcome's status."""
    if outcome.ok:
        name, body = b"result", outcome.result
    else:
        name, body = b"error", encode(outcome.error())
    content = b'{"%s":%s,"usage":%s}' % (name, body, usage)
    headers = {"Retry-After": str(RETRY_SOON_S)} if outcome.status == 503 else {}
    return Response(content, outcome.status, headers, "application/json")


def kept(success: Kept, *, streams: bool) -> Response:
    """The answer of a success of the recent past: a stream if it made steps, plain otherwise."""
    if not success.finished:
        return document(success.outcome, success.usage)
    if not streams:
        return document(NO_STREAM, success.usage)
    frames = [step_frame(name, result) for name, result in success.finished.items()]
    frames += [frame("usage", encode(usage)) for usage in json.loads(success.usage)]
    start = _start_message()
    answer = Response(b"".join(frames) + _final_frame(success.outcome), start["status"])
    answer.raw_headers = start["headers"]
    return answer


class Answer(Response):
    """Waits for one execution on behalf of one caller; many may wait for the same.

    A caller that goes away ends only its own waiting. With `streams` the answer becomes an event stream at
    the first progress, token or step, when the task is to wait, or when the handler is still quiet after
    `stream_after_s`. Without, steps can't be told: whoever made some gets an error.
    """

    def __init__(self, execution: Execution, *, streams: bool) -> None:
        super().__init__()
        self._execution = execution
        self._streams = streams
        if streams:
            execution.journal.streamed = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Race the answer against the caller's disconnect."""
        with self._execution.listening():
            answering = asyncio.create_task(self._answer(scope, receive, send))
            leaving = asyncio.create_task(_disconnect(receive))
            try:
                await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                answering.cancel()
                ended = await asyncio.gather(answering, leaving, return_exceptions=True)
        failure = ended[0]
        if isinstance(failure, Exception) and not isinstance(failure, OSError):
            raise failure  # an OSError (a timeout too) is a caller that left or stopped reading

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._must_stream():
            await self._stream(send)
            return
        outcome = self._execution.outcome
        assert outcome is not None
        if outcome.suspend or self._execution.journal.finished:
            outcome = NO_STREAM
        await document(outcome, self._execution.log.usage())(scope, receive, send)

    async def _must_stream(self) -> bool:
        """Wait until it is clear which answer it will be."""
        log, limits = self._execution.log, self._execution.limits
        quiet_s = limits.stream_after_s if self._streams else 60.0
        seen = 0
        while not (self._streams and log.shown):
            outcome = self._execution.outcome
            if outcome is not None:
                return self._streams and bool(outcome.suspend)
            if not await log.changed(seen, quiet_s) and self._streams:
                return True
            seen = log.last
        return True

    async def _stream(self, send: Send) -> None:
        await self._send(send, _start_message())
        log, seen = self._execution.log, 0
        while True:
            seen, data = log.since(seen)
            outcome = self._execution.outcome
            if outcome is not None:
                # The log is closed before an outcome is visible: this read of it is the last.
                final = log.since(seen)[1] + log.overflow() + _final_frame(outcome)
                await self._send(send, _body_message(data + final, more=False))
                return
            if data:
                await self._send(send, _body_message(data))
            elif not await log.changed(seen, self._execution.limits.ping_s):
                await self._send(send, _body_message(PING))

    async def _send(self, send: Send, message: Message) -> None:
        async with asyncio.timeout(self._execution.limits.send_s):
            await send(message)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _final_frame(outcome: Outcome) -> bytes:
    if outcome.ok:
        return frame("result", b'{"result":' + outcome.result + b"}")
    if outcome.suspend:
        return frame("suspend", outcome.suspend)
    return frame("error", encode(outcome.error()))


def _start_message() -> dict[str, Any]:
    # X-Accel-Buffering: a proxy that collects the stream would hide the progress.
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _body_message(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}
