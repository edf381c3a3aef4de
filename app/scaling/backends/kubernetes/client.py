"""The few calls of the Kubernetes API that are needed, over `kubernetes_asyncio`: each with a time limit, and with
errors that say what was refused.

Objects go and come as plain JSON: what a newer API adds, and what a model would find missing, is no reason to fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import structlog
from kubernetes_asyncio.client import ApiClient

from app.core.clock import Clock
from app.scaling.backends.base import BackendError
from app.scaling.backends.kubernetes import faults
from app.scaling.backends.kubernetes.credentials import Credentials
from app.scaling.backends.kubernetes.faults import ApiError

log = structlog.get_logger()

type Json = dict[str, Any]

MANAGER = "yardmaster"
PAGE = 500
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
RENEW_EVERY_S = 30.0
SILENT_S = 100.0
"""A watch is told something about every minute, a bookmark at least: one that hears nothing for so long is dead."""

_METHODS = {"list": "GET", "get": "GET", "watch": "GET", "patch": "PATCH", "delete": "DELETE"}
_PATHS = {
    "deployments": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "pods": "/api/v1/namespaces/{namespace}/pods",
    "secrets": "/api/v1/namespaces/{namespace}/secrets",
    "horizontalpodautoscalers": "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers",
    "scaledobjects": "/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects",
}


class Api:
    """Calls in one namespace; each raises ApiError. After a 429 none is sent before the time that it named."""

    def __init__(
        self, credentials: Credentials, namespace: str, clock: Clock, timeout_s: float, *, silent_s: float = SILENT_S
    ) -> None:
        self._credentials, self._namespace, self._clock, self._timeout_s = credentials, namespace, clock, timeout_s
        self._silent_s = silent_s
        self._client: ApiClient | None = None
        self._closed_until = float("-inf")
        self._renewed_at = float("-inf")

    async def open(self) -> None:
        """Raises BackendError where there are no credentials."""
        self._client = ApiClient(await self._credentials.load())
        self._client.user_agent = MANAGER

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def list(self, resource: str, selector: str = "") -> tuple[list[Json], str]:
        """All objects, and the version of that state, from which a watch may go on."""
        items: list[Json] = []
        query: dict[str, Any] = {"limit": PAGE, **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self._json("list", resource, query=query)
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            query["continue"] = metadata["continue"]

    async def get(self, resource: str, name: str) -> Json | None:
        """None: there is none of that name."""
        try:
            return await self._json("get", resource, name)
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    async def apply(self, resource: str, manifest: Json) -> Json:
        """Server-side apply, ours by force. `metadata.resourceVersion` in it makes it a condition (409)."""
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self._json("patch", resource, manifest["metadata"]["name"], query=query, body=manifest, kind=APPLY)

    async def scale(self, name: str, replicas: int, resource_version: str) -> Json:
        """Set a Deployment's replicas where it still is of that version; the Scale."""
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        query = {"fieldManager": MANAGER}
        return await self._json("patch", "deployments", name, "scale", query=query, body=body, kind=MERGE)

    async def annotate(self, name: str, annotations: Mapping[str, str]) -> Json | None:
        """Set annotations of a pod; None: it is gone."""
        body = {"metadata": {"annotations": dict(annotations)}}
        try:
            return await self._json("patch", "pods", name, query={"fieldManager": MANAGER}, body=body, kind=MERGE)
        except ApiError as exc:
            if exc.status == 404:
                return None
            raise

    async def delete(self, resource: str, found: Json) -> None:
        """Delete this very object in this very version, and what it owns."""
        metadata = found["metadata"]
        preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        await self._json("delete", resource, metadata["name"], body={**body, "preconditions": preconditions})

    @asynccontextmanager
    async def watch(
        self, resource: str, selector: str, resource_version: str, seconds: float
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """Events ({"type", "object"}) since that version, for so long; then they end. So they do when none comes for
        `SILENT_S`: a connection whose other end went without a word looks like one on which nothing happens."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": max(1, round(seconds)),
        }
        what = f"watch {resource}"
        total_s = seconds + self._timeout_s
        limit = aiohttp.ClientTimeout(total=total_s, sock_connect=self._timeout_s, sock_read=self._silent_s)
        with faults.translated(what):
            async with asyncio.timeout(self._timeout_s):  # a watch answers at once, with or without events
                response = await self._send("watch", _path(resource), query, None, JSON, limit)
            try:
                if response.status != 200:
                    raise await self._refused(what, response)
                yield _events(what, response)
            finally:
                response.close()

    async def _json(
        self,
        verb: str,
        resource: str,
        name: str = "",
        part: str = "",
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        kind: str = JSON,
    ) -> Json:
        what = f"{verb} {resource}/{part}" if part else f"{verb} {resource}"
        limit = aiohttp.ClientTimeout(total=self._timeout_s)
        with faults.translated(what):
            response = await self._send(verb, _path(resource, name, part), query or {}, body, kind, limit)
            async with response:
                if not 200 <= response.status < 300:
                    raise await self._refused(what, response)
                found = json.loads(await response.read())
        if not isinstance(found, dict):
            raise ApiError("api_error", f"The Kubernetes API answers {what} with something else than an object.")
        return found

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, Any],
        body: Json | None,
        kind: str,
        limit: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """The answer's head."""
        if self._client is None:
            raise ApiError("api_unreachable", "The Kubernetes client is closed.")
        wait_s = self._closed_until - self._clock.monotonic()
        if wait_s > 0:
            raise faults.throttled(wait_s)
        response: aiohttp.ClientResponse = await self._client.call_api(
            path.replace("{namespace}", quote(self._namespace, safe="")),
            _METHODS[verb],
            query_params=list(query.items()),
            header_params={"Accept": JSON, "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=limit,
        )
        return response

    async def _refused(self, what: str, response: aiohttp.ClientResponse) -> BackendError:
        error = faults.of_answer(what, response.status, response.headers, await response.text(errors="replace"))
        now = self._clock.monotonic()
        if error.status == 429:
            self._closed_until = now + error.retry_after_s
        elif error.status == 401 and now - self._renewed_at >= RENEW_EVERY_S:
            self._renewed_at = now
            await self._credentials.load()  # for the next call
        return error


def _path(resource: str, name: str = "", part: str = "") -> str:
    return "/".join([_PATHS[resource], *(quote(item, safe="") for item in (name, part) if item)])


async def _events(what: str, response: aiohttp.ClientResponse) -> AsyncIterator[Json]:
    try:
        while line := await response.content.readline():
            if line.strip():
                yield json.loads(line)
    except aiohttp.SocketTimeoutError:
        log.warning("kubernetes_watch_silent", what=what)
