"""A real Alertmanager, started for one test, and a receiver of the webhooks it sends."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from app.alerts.matching import Matcher

START_S = 60.0
NAMES = ("alertmanager", "prometheus-alertmanager")


def program() -> Path:
    """Alertmanager's binary; the test fails where there is none."""
    beside = Path(sys.executable).with_name("alertmanager")
    if beside.exists():
        return beside
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail("alertmanager is missing: run scripts/system")
    return Path(found)


@dataclass(frozen=True)
class Told:
    """One webhook as it came: when, under which path, for which group, and the labels of its alerts."""

    at: datetime
    path: str
    group: dict[str, str]
    firing: list[dict[str, str]]
    resolved: list[dict[str, str]]


@dataclass
class Inbox:
    """Takes webhooks; answers 400, which is not retried, to those that `refuses` says."""

    now: Callable[[], datetime]
    refuses: Callable[[Told], bool] = lambda _: False
    got: list[Told] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        at, body = self.now(), await request.json()
        labels = {
            status: [alert["labels"] for alert in body["alerts"] if alert["status"] == status]
            for status in ("firing", "resolved")
        }
        told = Told(at, request.path, body["groupLabels"], labels["firing"], labels["resolved"])
        self.got.append(told)
        return web.Response(status=400 if self.refuses(told) else 200)


@asynccontextmanager
async def serving(inbox: Inbox) -> AsyncIterator[str]:
    """The inbox's URL, while it takes webhooks."""
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/{path:.*}", inbox.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass
class Alertmanager:
    """`started_at`: when it began to dispatch, on the clock of this machine."""

    url: str
    session: aiohttp.ClientSession
    started_at: datetime

    async def post_alert(self, labels: dict[str, str], starts_at: datetime, ends_at: datetime | None) -> None:
        alert = {"labels": labels, "startsAt": starts_at.isoformat()}
        await self._call("POST", "alerts", [alert | ({"endsAt": ends_at.isoformat()} if ends_at else {})])

    async def alerts(self, text: str) -> list[dict[str, str]]:
        """Labels of the alerts that the matchers, written as text, select. Raises ValueError for what it refuses."""
        found = await self._call("GET", "alerts", params={"filter": text})
        return [alert["labels"] for alert in found]

    async def post_silence(self, matchers: tuple[Matcher, ...], starts_at: datetime, ends_at: datetime) -> str:
        """Its id. Raises ValueError for one that Alertmanager refuses."""
        body = {
            "matchers": [
                {
                    "name": matcher.name,
                    "value": matcher.value,
                    "isRegex": "~" in matcher.op,
                    "isEqual": "!" not in matcher.op,
                }
                for matcher in matchers
            ],
            "startsAt": starts_at.isoformat(),
            "endsAt": ends_at.isoformat(),
            "createdBy": "test",
            "comment": "test",
        }
        return str((await self._call("POST", "silences", body))["silenceID"])

    async def expire_silence(self, silence_id: str) -> None:
        await self._call("DELETE", f"silence/{silence_id}")

    async def _call(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        async with self.session.request(method, f"{self.url}/api/v2/{path}", json=body, params=params) as answer:
            text = await answer.text()
            if 400 <= answer.status < 500:
                raise ValueError(text)
            assert answer.status == 200, f"{method} {path}: {answer.status} {text}"
            return json.loads(text) if text else None


@asynccontextmanager
async def running(config: dict[str, Any], folder: Path) -> AsyncIterator[Alertmanager]:
    """Alone: it looks for no peers. Everything it stores goes below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    url, log = f"http://127.0.0.1:{_free_port()}", folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program(),
            f"--config.file={folder / 'config.yaml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={url.removeprefix('http://')}",
            "--cluster.listen-address=",
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await _ready(session, url, process, log)
            yield Alertmanager(url, session, _started_at(log.read_text()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(session: aiohttp.ClientSession, url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        assert process.returncode is None, f"alertmanager ended: {log.read_text()}"
        assert time.monotonic() < end, f"alertmanager is not ready within {START_S:g} s: {log.read_text()}"
        try:
            async with session.get(f"{url}/-/ready") as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)


def _started_at(log: str) -> datetime:
    """It begins to dispatch when it has loaded its configuration, and logs that."""
    (line,) = (line for line in log.splitlines() if "Completed loading of configuration file" in line)
    found = re.match(r"ts=(\S+)Z ", line)
    assert found, line
    return datetime.fromisoformat(f"{found[1]}+00:00")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
