"""The executor of plain HTTP agents: `POST {url}/execute`, `POST {url}/cancel`, `GET {url}/health`.

aiohttp, because the HTTP client is the dearest part of a dispatch (httpx costs several times as much a call).
"""

from __future__ import annotations

import socket
from typing import Any
from uuid import UUID

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.core.jsonbody import dump_json
from app.dispatch.executors import answers
from app.dispatch.executors.base import Ending, Failed, Refused, Request, Sink
from app.dispatch.executors.durable import DEFAULT_BOUNDS, StepBounds, Steps
from app.registry.addresses import AllowList, split_agent_url
from app.settings import DispatchSettings

CANCEL_TIMEOUT_S = 5.0
ERROR_BODY_BYTES = 65_536
DNS_CACHE_S = 10
KEEPALIVE_S = 4.0
"""Less than what agents' servers keep (uvicorn 5 s): a call on a connection that closes just then would be lost."""
_HEADERS = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}


class AddressNotAllowed(OSError):
    """The agent's name points outside the allowed networks."""


class _AllowedResolver(AbstractResolver):
    """Resolves names and refuses addresses that agents may not have, at every connection."""

    def __init__(self, allow_list: AllowList) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allow_list = allow_list

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        allowed = [item for item in found if self._allow_list.allows_text(item["host"])]
        if not allowed:
            raise AddressNotAllowed(f"{host} is outside the allowed networks")
        return allowed

    async def close(self) -> None:
        await self._inner.close()


class HttpExecutor:
    """One connection pool for all agents. `open()` before use, `close()` at the end."""

    def __init__(
        self,
        allow_list: AllowList,
        settings: DispatchSettings,
        *,
        probe_timeout_s: float,
        steps: StepBounds = DEFAULT_BOUNDS,
    ) -> None:
        self._allow_list, self._settings, self._probe_timeout_s = allow_list, settings, probe_timeout_s
        self._steps = steps
        self._session: aiohttp.ClientSession | None = None
        self._literal: dict[str, bool] = {}

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEPALIVE_S,
            ttl_dns_cache=DNS_CACHE_S,
            resolver=_AllowedResolver(self._allow_list),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": "yardmaster"},
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def execute(self, url: str, request: Request, sink: Sink) -> Ending:  # noqa: PLR0911 - a table of faults
        try:
            self._check(url)
            return await self._post(url, request, sink)
        except AddressNotAllowed as exc:
            return Failed("address_not_allowed", str(exc), retry=True)
        except aiohttp.ClientConnectorError as exc:
            if isinstance(exc.os_error, AddressNotAllowed):
                return Failed("address_not_allowed", str(exc.os_error), retry=True)
            return Refused(f"The agent cannot be reached: {exc.os_error}.", unreachable=True)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return Refused("The agent did not accept the connection in time.", unreachable=True)
        except aiohttp.ClientResponseError as exc:
            return answers.bad_response(f"The agent does not speak HTTP: {exc.message}.")
        except (aiohttp.ClientError, OSError) as exc:
            return Failed("executor_disconnected", f"The connection broke: {exc!r}.", retry=True)
        except ValueError as exc:
            return answers.bad_response(f"The agent's answer cannot be read: {exc}.")

    async def cancel(self, url: str, task_id: UUID) -> None:
        await self.stop(url, task_id)

    async def stop(self, url: str, task_id: UUID) -> bool:
        """404 is an answer too: it has no such task, or not any more."""
        try:
            self._check(url)
            timeout = aiohttp.ClientTimeout(total=CANCEL_TIMEOUT_S)
            async with self._open_session.post(
                f"{url}/cancel",
                data=dump_json({"task_id": task_id}),
                headers=_HEADERS,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return response.status in (200, 202, 204, 404)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False

    async def healthy(self, url: str) -> bool:
        try:
            self._check(url)
            timeout = aiohttp.ClientTimeout(total=self._probe_timeout_s)
            async with self._open_session.get(f"{url}/health", timeout=timeout, allow_redirects=False) as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return False

    async def _post(self, url: str, request: Request, sink: Sink) -> Ending:
        headers = _HEADERS if request.traceparent is None else {**_HEADERS, "traceparent": request.traceparent}
        async with self._open_session.post(
            f"{url}/execute", data=_body(request), headers=headers, allow_redirects=False
        ) as response:
            if response.status != 200:
                body = await _read(response, ERROR_BODY_BYTES)
                return answers.of_status(response.status, body or b"", response.headers.get("Retry-After"))
            if response.headers.get("Content-Encoding", "identity") != "identity":
                return answers.bad_response("The agent compressed its answer, which was not asked for.")
            kind = response.headers.get("Content-Type", "")
            if kind != "application/json":  # the usual spelling needs no parsing
                kind = response.content_type
            if kind == "text/event-stream":
                return await self._stream(response, request, sink)
            if kind != "application/json":
                return answers.bad_response(
                    f"The agent answered with {response.content_type[:80]}, not JSON or events."
                )
            body = await _read(response, self._settings.max_result_bytes)
            return answers.too_large(self._settings.max_result_bytes) if body is None else answers.of_json(body)

    async def _stream(self, response: aiohttp.ClientResponse, request: Request, sink: Sink) -> Ending:
        limit = self._settings.max_result_bytes
        reader = answers.SseReader(limit)
        steps = Steps(self._steps, dict(request.steps))
        state = answers.StreamState(sink, self._settings.max_event_bytes, self._settings.max_events_per_attempt, steps)
        try:
            async for chunk in response.content.iter_any():
                for event, data in reader.feed(chunk):
                    ending = state.take(event, data)
                    if ending is not None:
                        return ending
        except OverflowError:
            return Failed("executor_too_large", f"An event is larger than {limit} bytes.", False, tuple(state.usage))
        except (aiohttp.ClientError, OSError):
            return state.ended_early()
        return state.ended_early()

    @property
    def _open_session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "open() first"
        return self._session

    def _check(self, url: str) -> None:
        """Literal addresses do not pass the resolver; they are decided here, once per URL."""
        allowed = self._literal.get(url)
        if allowed is None:
            host, _ = split_agent_url(url)
            literal = ":" in host or host.replace(".", "").isdigit()
            allowed = self._allow_list.allows_text(host) if literal else True
            if len(self._literal) > 50_000:
                self._literal.clear()
            self._literal[url] = allowed
        if not allowed:
            raise AddressNotAllowed(f"{url} is outside the allowed networks")


def _body(request: Request) -> bytes:
    head: dict[str, Any] = {
        "task_id": request.task_id,
        "attempt": request.attempt,
        "fence": request.fence,
        "replay": request.replay,
        "type": request.type,
        "deadline": request.deadline,
        "thread_id": request.thread_id,
    }
    if request.model_hint:
        head["model_hint"] = dict(request.model_hint)
    steps = ",".join(f"{dump_json(name)}:{result}" for name, result in request.steps.items())
    rest = f'"steps":{{{steps}}},"resume":{request.resume or "null"},"payload":{request.payload}'
    return f"{dump_json(head)[:-1]},{rest}}}".encode()


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The whole body; None when it is larger than `limit`."""
    if response.content_length is not None and response.content_length <= limit:
        return await response.read()
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            return None
        parts.append(chunk)
    return b"".join(parts)
