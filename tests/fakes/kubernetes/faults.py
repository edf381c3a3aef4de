"""Faults a test switches on, and the log of requests it asserts on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.fakes.kubernetes.errors import ApiError

type Mode = Literal["status", "hang", "reset"]

_MESSAGES = {
    401: "Unauthorized",
    403: 'forbidden: User "tester" cannot do this',
    409: "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version",
    410: "The provided continue parameter is too old to display a consistent list result",
    429: "the server has received too many requests and has asked us to try again later",
    500: "Internal error occurred: etcdserver: leader changed",
    503: "the server is currently unable to handle the request",
}


@dataclass
class Fault:
    """Answers matching requests. `left` None: all of them; `seen` counts them."""

    mode: Mode
    verb: str
    path: str
    left: int | None
    code: int = 500
    message: str = ""
    reason: str | None = None
    retry_after_s: int | None = None
    seen: int = 0

    def matches(self, method: str, verb: str, path: str) -> bool:
        return self.verb in ("*", method, verb) and path.startswith(self.path) and self.left != 0

    def error(self) -> ApiError:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        details = {} if self.retry_after_s is None else {"retryAfterSeconds": self.retry_after_s}
        message = self.message or _MESSAGES.get(self.code, f"fault {self.code}")
        return ApiError(self.code, message, reason=self.reason, headers=headers, details=details)


@dataclass
class Faults:
    """`faults.answer(429, verb="list", path="/apis/apps", retry_after_s=3)` and the like; thread-safe.

    `verb` is an HTTP method (`GET`) or what RBAC calls it (`list`, `watch`, `patch`); `*` any. `path` is a prefix.
    `times` None means until `remove` or `clear`.
    `watch_life_s`, `watch_events`: every watch ends after so many seconds or events; `watch_abort` cuts the
    connection in the middle instead of ending the answer in order.
    """

    watch_life_s: float | None = None
    watch_events: int | None = None
    watch_abort: bool = False
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(
        self,
        code: int,
        *,
        verb: str = "*",
        path: str = "/",
        times: int | None = 1,
        message: str = "",
        reason: str | None = None,
        retry_after_s: int | None = None,
    ) -> Fault:
        """Answer with this status; 429 says Retry-After: 1 unless told."""
        retry = 1 if code == 429 and retry_after_s is None else retry_after_s
        return self._add(Fault("status", verb, path, times, code, message, reason, retry))

    def hang(self, *, verb: str = "*", path: str = "/", times: int | None = 1) -> Fault:
        """Never answer; the request ends when the client gives up or the cluster stops."""
        return self._add(Fault("hang", verb, path, times))

    def reset(self, *, verb: str = "*", path: str = "/", times: int | None = 1) -> Fault:
        """Cut the connection instead of answering."""
        return self._add(Fault("reset", verb, path, times))

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        """All faults are over."""
        with self._lock:
            self._faults.clear()
        self.watch_life_s = self.watch_events = None
        self.watch_abort = False

    def take(self, method: str, verb: str, path: str) -> Fault | None:
        """The oldest fault that matches, counted."""
        with self._lock:
            found = next((fault for fault in self._faults if fault.matches(method, verb, path)), None)
            if found is not None:
                found.seen += 1
                found.left = None if found.left is None else found.left - 1
            return found


@dataclass
class Logged:
    """One request as it came, and its answer's status (0: not answered yet or never)."""

    method: str
    verb: str
    path: str
    query: dict[str, str]
    content_type: str
    accept: str
    user_agent: str
    body: bytes
    status: int = 0

    def json(self) -> Any:
        return json.loads(self.body)


def matching(log: Iterable[Logged], verb: str, path: str) -> list[Logged]:
    """The requests of this verb (HTTP's or RBAC's; `*` any) below this path."""
    return [entry for entry in log if verb in ("*", entry.method, entry.verb) and entry.path.startswith(path)]
