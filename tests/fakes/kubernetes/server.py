"""The HTTP side: one handler that logs, injects faults, authenticates, authorizes and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import yaml
from aiohttp import web

from tests.fakes.kubernetes import discovery, openapi, protobuf, subresources
from tests.fakes.kubernetes.access import Access, User
from tests.fakes.kubernetes.errors import ApiError, bad_request, status_object, success
from tests.fakes.kubernetes.faults import Fault, Faults, Logged
from tests.fakes.kubernetes.kinds import Kinds
from tests.fakes.kubernetes.reads import Reads, matcher, shown
from tests.fakes.kubernetes.revision import APPLY_PATCH
from tests.fakes.kubernetes.targets import Target, flag, target_of
from tests.fakes.kubernetes.watching import Watches
from tests.fakes.kubernetes.writes import Write, Writes

type Answer = tuple[int, dict[str, Any]]


class _Loader(yaml.CSafeLoader):
    """YAML as the server reads it: a timestamp is a string."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Server:
    """Answers requests from the parts of a cluster."""

    def __init__(
        self, kinds: Kinds, writes: Writes, reads: Reads, watches: Watches, access: Access, faults: Faults
    ) -> None:
        self.kinds, self.writes, self.reads = kinds, writes, reads
        self.watches, self.access, self.faults = watches, access, faults
        self.store = writes.store
        self.log: list[Logged] = []
        self.logs: dict[str, str] = {}
        # Errors of the fake itself; the cluster's end asserts there are none.
        self.broken: list[Exception] = []

    def application(self) -> web.Application:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; errors become `Status` objects."""
        target = target_of(self.kinds, request.path)
        entry = await self._logged(request, target)
        try:
            response = await self._answer(request, target, entry)
        except ApiError as error:
            response = _json(error.code, error.status, error.headers)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            response = _json(500, status_object(500, f"Internal error occurred: {error!r}"))
            self.broken.append(error)
        entry.status = response.status
        return response

    async def _logged(self, request: web.Request, target: Target | None) -> Logged:
        query, headers = dict(request.query), request.headers
        verb = target.verb(request.method, query) if target else "get"
        sent = (headers.get("Content-Type", ""), headers.get("Accept", ""), headers.get("User-Agent", ""))
        entry = Logged(request.method, verb, request.path, query, *sent, await request.read())
        self.log.append(entry)
        return entry

    async def _answer(self, request: web.Request, target: Target | None, entry: Logged) -> web.StreamResponse:
        if fault := self.faults.take(request.method, entry.verb, request.path):
            await _suffer(request, fault)
        user = self.access.authenticate(request.headers.get("Authorization"))
        if target is None:
            with self.store.lock:
                return self._undirected(request.path)
        with self.store.lock:
            if not target.kind.review:
                self.access.authorize(user, target.ask(entry.verb, entry.query))
        if entry.verb == "watch":
            return await self.watches.serve(request, target, entry.query)
        with self.store.lock:
            if target.subresource == "log":
                return self._pod_log(target)
            code, body = self._call(user, target, entry)
        return _json(code, shown(body, entry.accept))

    def _undirected(self, path: str) -> web.Response:
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        found = openapi.document(self.kinds, path) or discovery.document(self.kinds, path)
        if found is None:
            raise ApiError(404, "the server could not find the requested resource", reason="NotFound")
        return _json(200, found)

    def _pod_log(self, target: Target) -> web.Response:
        self.writes.must(target.kind, target.namespace, target.name)
        return web.Response(text=self.logs.get(target.name, ""))

    def _call(self, user: User, target: Target, entry: Logged) -> Answer:
        kind, namespace, name = target.kind, target.namespace, target.name
        write = _write(target, entry)
        if target.subresource in ("scale", "eviction"):
            return self._subresource(target, entry, write)
        match entry.verb:
            case "list":
                return 200, self.reads.page(kind, namespace, entry.query)
            case "get":
                return 200, self.writes.must(kind, namespace, name)
            case "create" if kind.review:
                return 201, subresources.review(self.access, user, _parsed(entry))
            case "create":
                return 201, self.writes.create(kind, namespace, _parsed(entry), write)
            case "update":
                return 200, self.writes.replace(kind, namespace, name, _parsed(entry), write)
            case "patch":
                return self._patch(user, target, entry, write)
            case "delete":
                return self._delete(target, entry)
            case "deletecollection":
                return self._delete_all(target, entry)
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _subresource(self, target: Target, entry: Logged, write: Write) -> Answer:
        kind, namespace, name = target.kind, target.namespace, target.name
        match target.subresource, entry.verb:
            case "scale", "get":
                return 200, subresources.scale_of(self.writes.must(kind, namespace, name))
            case "scale", "update":
                return 200, subresources.put_scale(self.writes, kind, namespace, name, _parsed(entry), write)
            case "scale", "patch":
                how, data = _content(entry), _parsed(entry)
                return 200, subresources.patch_scale(self.writes, kind, namespace, name, how, data, write)
            case "eviction", "create":
                return 201, subresources.evict(self.writes, kind, namespace, name, _parsed(entry))
        raise ApiError(405, "the server does not allow this method on the requested resource")

    def _patch(self, user: User, target: Target, entry: Logged, write: Write) -> Answer:
        kind, namespace, name = target.kind, target.namespace, target.name
        if _content(entry) != APPLY_PATCH:
            # An unknown type is refused before the body is read.
            data = _parsed(entry) if _content(entry).endswith("+json") else None
            return 200, self.writes.patch(kind, namespace, name, _content(entry), data, write)
        if self.store.get(kind, namespace, name) is None:
            # An apply that creates needs the right to create.
            self.access.authorize(user, target.ask("create", entry.query))
        body, created = self.writes.apply(kind, namespace, name, _parsed(entry), write)
        return (201 if created else 200), body

    def _delete(self, target: Target, entry: Logged) -> Answer:
        kind, name = target.kind, target.name
        body, gone = self.writes.delete(kind, target.namespace, name, _options(entry))
        if gone and kind.kind not in ("Pod", "Service", "ServiceAccount"):
            return 200, success(kind.plural, kind.group, name, body["metadata"]["uid"])
        return 200, body

    def _delete_all(self, target: Target, entry: Logged) -> Answer:
        match = matcher(target.kind, entry.query)
        found = [body for body in self.store.items(target.kind, target.namespace) if match(body)]
        for body in found:
            meta = body["metadata"]
            self.writes.delete(target.kind, meta.get("namespace", ""), meta["name"], _options(entry))
        meta = {"resourceVersion": str(self.store.version)}
        listed = {"kind": target.kind.list_kind, "apiVersion": target.kind.api_version, "metadata": meta}
        return 200, listed | {"items": found}


async def _suffer(request: web.Request, fault: Fault) -> None:
    if fault.mode == "status":
        raise fault.error()
    if fault.mode == "hang":
        await asyncio.Event().wait()
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("fault: reset")


def _content(entry: Logged) -> str:
    return entry.content_type.partition(";")[0].strip().lower()


def _parsed(entry: Logged) -> Any:
    """The body, from JSON or YAML. Raises 400, 415."""
    if "protobuf" in entry.content_type or "cbor" in entry.content_type:
        return _binary(entry)
    try:
        return orjson.loads(entry.body)
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml.load(entry.body, _Loader)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding the body: {' '.join(str(error).split())}") from None


def _binary(entry: Logged) -> Any:
    try:
        return protobuf.read_body(entry.body)
    except (ValueError, KeyError, IndexError) as error:
        text = f"the body of the request was in an unknown format: {entry.content_type} ({error})"
        raise ApiError(415, text) from None


def _write(target: Target, entry: Logged) -> Write:
    query = entry.query
    named = query.get("fieldManager", "")
    # The server names a manager by its program where the query does not.
    manager = named or entry.user_agent.partition("/")[0] or "unknown"
    force = None if "force" not in query else flag(query, "force")
    return Write(manager, bool(named), query.get("dryRun") == "All", force, target.subresource)


def _options(entry: Logged) -> dict[str, Any]:
    """DeleteOptions from the body and the query."""
    body = _parsed(entry) if entry.body.strip() else {}
    options = dict(body) if isinstance(body, dict) else {}
    options |= {key: entry.query[key] for key in ("propagationPolicy", "dryRun") if key in entry.query}
    if "orphanDependents" in entry.query:
        options["orphanDependents"] = flag(entry.query, "orphanDependents")
    if grace := entry.query.get("gracePeriodSeconds"):
        if not grace.isdecimal():
            raise bad_request(f'gracePeriodSeconds: strconv.ParseInt: parsing "{grace}": invalid syntax')
        options["gracePeriodSeconds"] = int(grace)
    return options


def _json(code: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=code, body=orjson.dumps(body), content_type="application/json", headers=dict(headers or {})
    )
