"""The objects, one counter of versions, and the bounded log of changes that watches read.

Stored objects are never changed in place: a write stores a new one. So readers may keep what they were given.
All methods are called under `lock`, which is shared by the server's thread and the test's.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.kubernetes.errors import expired
from tests.fakes.kubernetes.kinds import Kind

type Body = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One write. `old` is None for ADDED; a deletion's `body` carries the version of the deletion."""

    version: int
    kind: Kind
    type: str
    body: Body
    old: Body | None


class Store:
    """`log_size` changes are kept; asking for older ones is answered with 410."""

    def __init__(self, log_size: int = 10_000) -> None:
        self.lock = threading.RLock()
        self.version = 1
        # Changes up to this version are forgotten.
        self.compacted = 0
        self.log: deque[Change] = deque()
        self._log_size = log_size
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Body]] = {}
        self._listeners: list[Callable[[Change], None]] = []

    def _of(self, kind: Kind) -> dict[tuple[str, str], Body]:
        return self._objects.setdefault((kind.group, kind.plural), {})

    def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        return self._of(kind).get((namespace if kind.namespaced else "", name))

    def items(self, kind: Kind, namespace: str = "") -> list[Body]:
        """Sorted by namespace and name; of all namespaces where none is given."""
        found = sorted(self._of(kind).items())
        return [body for (where, _), body in found if not namespace or where == namespace]

    def put(self, kind: Kind, body: Body) -> Body:
        """Store a new object or the successor of one; returns it with its new resourceVersion."""
        meta = body["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        old = self._of(kind).get(key)
        stored = self._stamp(body)
        self._of(kind)[key] = stored
        self._record(kind, "MODIFIED" if old else "ADDED", stored, old)
        return stored

    def remove(self, kind: Kind, body: Body) -> Body:
        """Returns the object as the DELETED event shows it."""
        meta = body["metadata"]
        old = self._of(kind).pop((meta.get("namespace", ""), meta["name"]))
        gone = self._stamp(body)
        self._record(kind, "DELETED", gone, old)
        return gone

    def _stamp(self, body: Body) -> Body:
        self.version += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self.version)
        return stored

    def _record(self, kind: Kind, type_: str, body: Body, old: Body | None) -> None:
        change = Change(self.version, kind, type_, body, old)
        self.log.append(change)
        while len(self.log) > self._log_size:
            self.compacted = self.log.popleft().version
        for listener in self._listeners:
            listener(change)

    def since(self, version: int) -> list[Change]:
        """Changes after this version. Raises 410 where some of them are forgotten."""
        if version < self.compacted:
            raise expired(f"too old resource version: {version} ({self.compacted + 1})")
        return [change for change in self.log if change.version > version]

    def compact(self) -> None:
        """Forget all changes: every version before now is expired."""
        self.log.clear()
        # A version of its own, so that even the newest one a client has seen is too old.
        self.version += 1
        self.compacted = self.version

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call it (in the writer's thread) with every change; returns how to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
