"""A kubelet of the fake cluster that runs each pod's command as a process of this machine.

A pod has an address of its own in 127.0.0.0/8, so that all may listen on the port that the Deployment names.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.kubernetes import FakeCluster, Kubelet, PodReport

type Json = dict[str, Any]

PROBE_S = 1.0
_REFERENCE = re.compile(r"\$\((\w+)\)")
_numbers = itertools.count(1)


@dataclass
class _Container:
    """`told_at`: when it got SIGTERM, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    ip: str
    port: int
    ready: bool = False
    told_at: float | None = None


@dataclass
class PodProcesses(Kubelet):
    """SIGTERM when a pod is deleted, SIGKILL when its grace is over, or at once where it was deleted by force.

    `killed`: names of the pods that had to be. `exits`: exit codes by name of pod.
    """

    cluster: FakeCluster
    folder: Path
    killed: list[str] = field(default_factory=list)
    exits: dict[str, int] = field(default_factory=dict)
    _running: dict[str, _Container] = field(default_factory=dict)

    async def start(self, pod: Json) -> PodReport:
        number = next(_numbers)
        ip = f"127.77.{number // 250}.{number % 250 + 1}"
        (container,) = pod["spec"]["containers"]
        with (self.folder / f"{pod['metadata']['name']}.log").open("wb") as log:
            process = subprocess.Popen(
                [*container["command"], *container.get("args", ())],
                env=_machine() | self._environment(pod, container, ip),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        port = container["ports"][0]["containerPort"]
        self._running[pod["metadata"]["uid"]] = _Container(process, ip, port)
        return PodReport(ready=False, ip=ip)

    async def look(self, pod: Json) -> PodReport | None:
        it = self._running[pod["metadata"]["uid"]]
        code = it.process.poll()
        if code is not None:
            self.exits[pod["metadata"]["name"]] = code
            return PodReport(ready=False, ip=it.ip, exit_code=code)
        it.ready = it.ready or await _answers(it.ip, it.port)
        return PodReport(ready=it.ready, ip=it.ip)

    async def stop(self, pod: Json) -> bool:
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        it = self._running[uid]
        code = it.process.poll()
        if code is not None:
            self.exits[name] = code
            del self._running[uid]
            return True
        now = time.monotonic()
        grace_s = pod["metadata"].get("deletionGracePeriodSeconds", 0)
        if it.told_at is None:
            it.told_at = now
            it.process.send_signal(signal.SIGTERM)
        if now - it.told_at >= grace_s:
            self.killed.append(name)
            it.process.kill()
            it.process.wait()
        return False

    def close(self) -> None:
        """End all that is left."""
        for it in self._running.values():
            if it.process.poll() is None:
                it.process.kill()
            it.process.wait()

    def _environment(self, pod: Json, container: Json, ip: str) -> dict[str, str]:
        """The container's, references to earlier variables filled in."""
        facts = {"metadata.name": pod["metadata"]["name"], "status.podIP": ip}
        found: dict[str, str] = {}
        for item in container["env"]:
            source = item.get("valueFrom") or {}
            if "fieldRef" in source:
                found[item["name"]] = facts[source["fieldRef"]["fieldPath"]]
            elif "secretKeyRef" in source:
                found[item["name"]] = self._secret(source["secretKeyRef"], pod["metadata"]["namespace"])
            else:
                text = item.get("value", "")
                found[item["name"]] = _REFERENCE.sub(lambda match: found.get(match[1], match[0]), text)
        return found

    def _secret(self, reference: Json, namespace: str) -> str:
        secret = self.cluster.get("Secret", reference["name"], namespace)
        assert secret is not None
        return base64.b64decode(secret["data"][reference["key"]]).decode()


def _machine() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("YARD_", "AGENT_"))}


async def _answers(ip: str, port: int) -> bool:
    """Whether `GET /health` says 200."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(ip, port)
            try:
                writer.write(f"GET /health HTTP/1.0\r\nHost: {ip}\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    return False
