"""The manager's REST API for Python programs.

    async with Client() as yard:                       # YARD_URL and YARD_API_KEY
        task = await yard.submit(pool="log_analyzer", payload={"log": text})
        async for event in yard.events(task["id"]):
            ...
        task = await yard.wait(task["id"], timeout=60)

Answers are the API's JSON objects as they are. Every failure is a `YardError`, the lack of an answer too.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from yardmaster.errors import YardError
from yardmaster.following import follow
from yardmaster.problems import refused, unreachable
from yardmaster.sse import Event

DEFAULT_URL = "http://127.0.0.1:8080"
FINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
UNCHANGED: Any = object()
"""The arguments as they were asked for; None is a value."""

type Json = dict[str, Any]


class Client:
    """An async context manager; one client serves any number of concurrent calls."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = (url or os.environ.get("YARD_URL") or DEFAULT_URL).rstrip("/")
        key = key or os.environ.get("YARD_API_KEY")
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=timeout_s,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client can't be used after that."""
        await self._http.aclose()

    async def submit(
        self,
        payload: Any = None,
        *,
        pool: str | None = None,
        type: str | None = None,
        wait: float | None = None,
        idempotency_key: str | None = None,
        **fields: Any,
    ) -> Json:
        """Submit one task to a `pool`, or to the pool that suits the `type`; returns the task.

        `wait` holds the answer up to so many seconds for the result: look at "status". `fields` are the
        API's others: priority, deadline_s, run_at, complexity, max_attempts, labels, … With an `idempotency_key`
        the call may be repeated freely.
        """
        body = _without_none(pool=pool, type=type) | {"payload": payload} | fields
        headers = _without_none(**{"Idempotency-Key": idempotency_key})
        if wait is not None:
            headers["Prefer"] = f"wait={wait:g}"
        timeout_s = self._timeout_s + (wait or 0)
        return await self._call("POST", "/v1/tasks", json=body, headers=headers, timeout=timeout_s)

    async def submit_batch(self, tasks: Iterable[Mapping[str, Any]]) -> list[Json]:
        """Submit up to 1,000 tasks in one call (each as the body of a single submit); returns them."""
        body = {"tasks": [dict(task) for task in tasks]}
        answer = await self._call("POST", "/v1/tasks/batch", json=body)
        accepted: list[Json] = answer["tasks"]
        return accepted

    async def get(self, task_id: str) -> Json:
        """One task as it is now."""
        return await self._call("GET", _task(task_id))

    def tasks(self, *, status: str | None = None, pool: str | None = None, **filters: Any) -> AsyncIterator[Json]:
        """All tasks that match, page by page as they are asked for (`page_size=` at a time)."""
        return self._pages("/v1/tasks", _without_none(status=status, pool=pool, **filters))

    async def cancel(self, task_id: str) -> Json:
        """Cancel a task; returns it. YardError 409 when it is final already."""
        return await self._call("POST", _task(task_id, "/cancel"))

    async def retry(self, task_id: str) -> Json:
        """Put a failed task back into the queue; returns it."""
        return await self._call("POST", _task(task_id, "/retry"))

    def events(self, task_id: str, last_event_id: str | None = None) -> AsyncIterator[Event]:
        """The task's events, from the beginning or after `last_event_id`, until the task is final.

        A broken stream is resumed where it broke, so no event is missed or told twice; a manager that is
        away is waited for. YardError when it refuses.
        """

        async def final() -> bool:
            return (await self.get(task_id))["status"] in FINAL

        return follow(self._http, _task(task_id, "/events"), last_event_id, final=final)

    async def wait(self, task_id: str, timeout: float | None = None) -> Json:
        """The task once it is final, whatever the outcome. YardError "timeout" after `timeout` seconds.

        It looks again and again (50 ms, growing to 1 s) rather than trust a stream's last word.
        """
        try:
            async with asyncio.timeout(timeout):
                pause_s = 0.05
                while (task := await self.get(task_id))["status"] not in FINAL:
                    await asyncio.sleep(pause_s)
                    pause_s = min(1.0, pause_s * 1.5)
                return task
        except TimeoutError as error:
            raise YardError(0, "timeout", f"task {task_id} is not final after {timeout:g} s") from error

    async def send_event(self, name: str, data: Any = None, task_id: str | None = None) -> Json:
        """Send the event `name` to the tasks that wait for it, or to one only; returns {"id","matched"}."""
        body = {"name": name, "data": data} | _without_none(task_id=task_id)
        return await self._call("POST", "/v1/events", json=body)

    def approvals(self, *, status: str | None = None, **filters: Any) -> AsyncIterator[Json]:
        """All questions to people: status="pending", pool=, task_id=."""
        return self._pages("/v1/approvals", _without_none(status=status, **filters))

    async def approve(
        self, approval_id: str, payload_hash: str, *, reason: str | None = None, args: Any = UNCHANGED
    ) -> Json:
        """Approve exactly what `payload_hash` names, or with other `args`; returns the approval.

        YardError 409 when it was changed or decided meanwhile.
        """
        body = {"payload_hash": payload_hash} | _without_none(reason=reason)
        if args is not UNCHANGED:
            body["args"] = args
        return await self._call("POST", _approval(approval_id, "/approve"), json=body)

    async def reject(self, approval_id: str, payload_hash: str | None = None, *, reason: str | None = None) -> Json:
        """Say no; returns the approval. YardError 409 when it is decided already."""
        body = _without_none(payload_hash=payload_hash, reason=reason)
        return await self._call("POST", _approval(approval_id, "/reject"), json=body)

    def pools(self, **filters: Any) -> AsyncIterator[Json]:
        """All pools."""
        return self._pages("/v1/pools", filters)

    async def put_pool(self, pool: str, definition: Mapping[str, Any]) -> Json:
        """Create or replace a pool; returns it."""
        return await self._call("PUT", _pool(pool), json=dict(definition))

    async def scale(self, pool: str, replicas: int, reason: str = "") -> Json:
        """Wish for so many agents; returns {"pool","desired","current"}."""
        return await self._call("POST", _pool(pool, "/scale"), json={"replicas": replicas, "reason": reason})

    def agents(self, *, pool: str | None = None, **filters: Any) -> AsyncIterator[Json]:
        """All registered agents, or those of one pool."""
        return self._pages("/v1/agents", _without_none(pool=pool, **filters))

    async def _pages(self, path: str, filters: Json) -> AsyncIterator[Json]:
        params = dict(filters)
        while True:
            page = await self._call("GET", path, params=params)
            for item in page["items"]:
                yield item
            if not page.get("next_page_token"):
                return
            params["page_token"] = page["next_page_token"]

    async def _call(self, method: str, path: str, **options: Any) -> Json:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise unreachable(self.url, error) from error
        if not answer.is_success:
            raise refused(answer)
        try:
            body = answer.json()
        except ValueError as error:
            raise YardError(answer.status_code, "bad_answer", "the answer is not JSON") from error
        if not isinstance(body, dict):
            raise YardError(answer.status_code, "bad_answer", "the answer is not a JSON object")
        return body


def _without_none(**values: Any) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _task(task_id: str, rest: str = "") -> str:
    return f"/v1/tasks/{quote(task_id, safe='')}{rest}"


def _approval(approval_id: str, rest: str) -> str:
    return f"/v1/approvals/{quote(approval_id, safe='')}{rest}"


def _pool(pool: str, rest: str = "") -> str:
    return f"/v1/pools/{quote(pool, safe='')}{rest}"
