"""The fake cluster: its parts put together, its own thread, and what a test sees and controls."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import yaml

from tests.fakes.kubernetes.access import Access, User, rules_of
from tests.fakes.kubernetes.certificate import make_certificate, server_context
from tests.fakes.kubernetes.controllers.images import Images
from tests.fakes.kubernetes.controllers.kubelet import Kubelet
from tests.fakes.kubernetes.controllers.passes import Passes
from tests.fakes.kubernetes.faults import Faults, Logged, matching
from tests.fakes.kubernetes.kinds import Kind, Kinds
from tests.fakes.kubernetes.reads import Reads
from tests.fakes.kubernetes.revision import MERGE_PATCH
from tests.fakes.kubernetes.selectors import labels_match
from tests.fakes.kubernetes.server import Server
from tests.fakes.kubernetes.store import Body, Store
from tests.fakes.kubernetes.thread import ServerThread
from tests.fakes.kubernetes.watching import Watches
from tests.fakes.kubernetes.writes import Write, Writes

_TEST = Write("test", True)


def _now() -> datetime:
    return datetime.now(UTC)


class FakeCluster:
    """See the package's docstring. Everything public is safe to call from any thread.

    `tls`: a folder for a certificate; the API then speaks https. Go clients send bearer tokens only so.
    """

    def __init__(
        self,
        *,
        groups: Iterable[str] = (),
        namespaces: Iterable[str] = ("default", "kube-system"),
        log_size: int = 10_000,
        seed: int = 0,
        nodes: int = 3,
        kubelet: Kubelet | None = None,
        tls: Path | None = None,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.kinds = Kinds(groups)
        self.store = Store(log_size)
        self.faults = Faults()
        self.writes = Writes(self.store, self.kinds, now, random.Random(seed))
        self.reads = Reads(self.store)
        self.watches = Watches(self.store, self.faults)
        self.access = Access(self.store, self.kinds)
        self.server = Server(self.kinds, self.writes, self.reads, self.watches, self.access, self.faults)
        self.images = Images()
        self.kubelet = kubelet or Kubelet()
        self._passes = Passes(self.writes, self.images, lambda: self.kubelet)
        self.url = ""
        self._certificate = make_certificate(tls) if tls else None
        self._thread = ServerThread(self.server, server_context(*self._certificate) if self._certificate else None)
        for number in range(1, nodes + 1):
            node = _node(number)
            self.create(node)
            self.patch("Node", f"node-{number}", {"status": node["status"]}, status=True)
        for namespace in namespaces:
            self.create({"kind": "Namespace", "metadata": {"name": namespace}})

    def start(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        self.url = self._thread.start()
        return self

    def stop(self) -> None:
        """End all answers and the thread. Raises what the fake itself got wrong."""
        self.watches.each(_end_feed)
        self._thread.stop()
        if self.server.broken:
            raise self.server.broken[0]
        if self._thread.failure:
            raise self._thread.failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    async def reconcile(self, limit: int = 200) -> int:
        """Let controllers and kubelets work until nothing changes any more; returns the number of passes.

        Raises TimeoutError where that takes more than `limit` passes.
        """
        return await self._passes.settle(limit)

    async def step(self) -> bool:
        """One pass of all controllers and kubelets; whether it changed anything."""
        return await self._passes.step()

    def run(self, every_s: float = 0.02) -> None:
        """Let passes go on by themselves on the cluster's thread (the hook is called there), until `stop`."""
        self._thread.repeat(self._passes.step, every_s)

    def exceed_deadline(self, name: str, namespace: str = "default") -> None:
        """The Deployment's rollout has taken too long, from the next pass on until it is complete."""
        found = self.get("Deployment", name, namespace)
        if found is None:
            raise KeyError(name)
        self._passes.deployments.overdue.add(found["metadata"]["uid"])

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig for this cluster; returns its path."""
        user = {"token": token} if token else {}
        cluster = {"server": self.url}
        if self._certificate:
            cluster["certificate-authority"] = str(self._certificate[0])
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "fake", "user": user}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def in_cluster(self, folder: Path, token: str) -> dict[str, str]:
        """Write a pod's service account files (`token`, `ca.crt`, `namespace`); returns the pod's environment.

        Needs `tls`: clients inside a cluster speak https only.
        """
        if not self._certificate:
            raise RuntimeError("in-cluster configuration needs FakeCluster(tls=folder)")
        (folder / "token").write_text(token)
        (folder / "ca.crt").write_text(self._certificate[0].read_text())
        (folder / "namespace").write_text("default")
        host, _, port = self.url.removeprefix("https://").partition(":")
        return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}

    def _kind(self, name: str, group: str | None = None) -> Kind:
        return self.kinds.named(name, group)

    def _where(self, kind: Kind, namespace: str) -> str:
        return namespace if kind.namespaced else ""

    def objects(self, kind: str, namespace: str = "", selector: str = "") -> list[Body]:
        """Copies of all objects of a kind (`Deployment`, `pods`, `hpa`), by label selector if given."""
        match = labels_match(selector)
        with self.store.lock:
            found = self.store.items(self._kind(kind), namespace)
            return [copy.deepcopy(body) for body in found if match(body["metadata"].get("labels") or {})]

    def get(self, kind: str, name: str, namespace: str = "default") -> Body | None:
        """A copy of one object."""
        with self.store.lock:
            one = self._kind(kind)
            return copy.deepcopy(self.store.get(one, self._where(one, namespace), name))

    def create(self, body: Body, namespace: str = "default") -> Body:
        """Create as the API would (defaults, validation); its kind is the body's. Raises ApiError."""
        with self.store.lock:
            group = body["apiVersion"].rpartition("/")[0] if "apiVersion" in body else None
            kind = self._kind(body["kind"], group)
            where = body.get("metadata", {}).get("namespace") or self._where(kind, namespace)
            return copy.deepcopy(self.writes.create(kind, where, _as_sent(body), _TEST))

    def patch(self, kind: str, name: str, patch: Body, namespace: str = "default", *, status: bool = False) -> Body:
        """A JSON merge patch by somebody else (`status`: of the status). Raises ApiError."""
        with self.store.lock:
            one, write = self._kind(kind), Write("test", True, subresource="status" if status else "")
            where = self._where(one, namespace)
            return copy.deepcopy(self.writes.patch(one, where, name, MERGE_PATCH, _as_sent(patch), write))

    def delete(self, kind: str, name: str, namespace: str = "default", **options: Any) -> None:
        """Delete with DeleteOptions such as `gracePeriodSeconds=0`. Raises ApiError."""
        with self.store.lock:
            one = self._kind(kind)
            self.writes.delete(one, self._where(one, namespace), name, options)

    def requests(self, verb: str = "*", path: str = "/") -> list[Logged]:
        """What was asked so far: by HTTP method or RBAC verb, below a path."""
        return matching(list(self.server.log), verb, path)

    def forget_requests(self) -> None:
        self.server.log.clear()

    def compact(self) -> None:
        """All versions until now are expired for new watches and for continue tokens."""
        with self.store.lock:
            self.store.compact()
            self.reads.forget()

    @property
    def open_watches(self) -> int:
        return len(self.watches.feeds)

    def bookmark(self) -> None:
        """Every open watch that allows bookmarks gets one now."""
        self.watches.each(_mark_feed)

    def end_watches(self) -> None:
        """Every open watch ends now, in order (or cut, with `faults.watch_abort`)."""
        self.watches.each(_end_feed)

    def cut_watches(self, resource: str) -> None:
        """Watches of it that are open now stay so, and are told nothing any more."""
        self.watches.each(lambda feed: _cut_feed(feed, resource))

    def expire_by(self, how: str) -> None:
        """Tell watches of an expired version by an ERROR `event` (the default) or by the HTTP `status` 410."""
        if how not in ("event", "status"):
            raise ValueError(how)
        self.watches.expired_as = how

    def require_token(self, token: str, user: str = "tester") -> None:
        """From now on only known bearer tokens are let in (401); this one may do everything unless `allow` says."""
        self.access.tokens.setdefault(token, User(user))

    def allow(self, role: Body | Iterable[Body], token: str | None = None) -> None:
        """Grant a Role's, ClusterRole's or list's rules to a token's user (None: to whoever comes without tokens).

        Whoever was granted anything may do only that.
        """
        user = self.access.admin if token is None else self.access.tokens.setdefault(token, User("tester"))
        user.rules = [*(user.rules or []), *rules_of(role)]

    def act_as(self, token: str, account: str, namespace: str = "default") -> None:
        """This token is a ServiceAccount: it may do what the cluster's RoleBindings give it at that moment."""
        name = f"system:serviceaccount:{namespace}:{account}"
        self.access.tokens[token] = User(name, account=(namespace, account))


def _node(number: int) -> Body:
    room = {"cpu": "64", "memory": "256Gi", "pods": "110"}
    name = f"node-{number}"
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    address = {"type": "InternalIP", "address": f"192.0.2.{number}"}
    status = {"capacity": room, "allocatable": room, "conditions": [ready], "addresses": [address]}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    return {"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}, "status": status}


def _as_sent(body: Body) -> Body:
    """The body as it would arrive: tuples are lists."""
    sent: Body = orjson.loads(orjson.dumps(body))
    return sent


def _end_feed(feed: Any) -> None:
    feed.ended = True


def _cut_feed(feed: Any, resource: str) -> None:
    feed.dumb = feed.dumb or feed.resource == resource


def _mark_feed(feed: Any) -> None:
    feed.bookmark = True
