"""Where an agent may be: not everything that can be written as a URL may be called."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from aiohttp import web

from app.wiring import Yard
from tests.api.verbs import put_pool, refused, register, rows, run

App = tuple[httpx.AsyncClient, Yard]

REFUSED: list[tuple[str, str]] = [
    ("http://169.254.169.254", "address_not_allowed"),
    ("http://169.254.169.254:80/latest/meta-data", "address_not_allowed"),
    ("http://[::ffff:169.254.169.254]", "address_not_allowed"),
    ("http://[::ffff:a9fe:a9fe]", "address_not_allowed"),
    ("http://[2002:a9fe:a9fe::1]", "address_not_allowed"),
    ("http://[fd00:ec2::254]", "address_not_allowed"),
    ("http://100.100.100.200", "address_not_allowed"),
    ("http://[fe80::1]", "address_not_allowed"),
    ("http://[ff02::1]", "address_not_allowed"),
    ("http://0.0.0.0:8080", "address_not_allowed"),
    ("http://[::]", "address_not_allowed"),
    ("http://0", "address_not_allowed"),
    ("http://224.0.0.1", "address_not_allowed"),
    ("http://255.255.255.255", "address_not_allowed"),
    ("http://8.8.8.8", "address_not_allowed"),
    ("http://[2606:4700::1111]", "address_not_allowed"),
    ("http://[::ffff:8.8.8.8]", "address_not_allowed"),
    ("http://2852039166", "address_not_allowed"),
    ("http://0xa9fea9fe", "address_not_allowed"),
    ("http://0xa9.0xfe.0xa9.0xfe", "address_not_allowed"),
    ("http://0251.0376.0251.0376", "address_not_allowed"),
    ("http://169.16689662", "address_not_allowed"),
    ("http://134744072", "address_not_allowed"),
    ("http://user@127.0.0.1:9", "bad_agent_url"),
    ("http://user:secret@127.0.0.1:9", "bad_agent_url"),
    ("http://127.0.0.1@169.254.169.254", "bad_agent_url"),
    ("file:///etc/passwd", "bad_agent_url"),
    ("ftp://127.0.0.1/", "bad_agent_url"),
    ("gopher://127.0.0.1:70", "bad_agent_url"),
    ("unix:///tmp/socket", "bad_agent_url"),
    ("javascript:alert(1)", "bad_agent_url"),
    ("//127.0.0.1:9000", "bad_agent_url"),
    ("127.0.0.1:9000", "bad_agent_url"),
    ("http://:9000", "bad_agent_url"),
    ("http:///path", "bad_agent_url"),
    ("http://127.0.0.1:0", "bad_agent_url"),
    ("http://127.0.0.1:99999", "bad_agent_url"),
    ("http://127.0.0.1:x", "bad_agent_url"),
    ("http://127.0.0.1:9/?a=b", "bad_agent_url"),
    ("http://127.0.0.1:9/#a", "bad_agent_url"),
    ("http://127.0.0.1:9/a b", "bad_agent_url"),
    ("http://127.0.0.1:9/\r\nHost: x", "bad_agent_url"),
    ("http://[::1", "bad_agent_url"),
    ("http://[zz]", "bad_agent_url"),
    ("http://" + "a" * 300 + ".invalid", "bad_agent_url"),
    ("http://name.invalid", "bad_agent_url"),
    ("http://..", "bad_agent_url"),
    ("http://\u0661\u0662\u0667.0.0.\u0661", "bad_agent_url"),
]


async def test_addresses_that_agents_may_not_have(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)
    wrong = []
    for url, code in REFUSED:
        answer = await client.post("/v1/agents", json={"pool": "echo", "url": url})
        if answer.status_code != 422 or answer.json()["code"] != code:
            wrong.append((url, answer.status_code, answer.json().get("code"), answer.json().get("detail")))
    assert not wrong
    assert await rows(yard) == before


async def test_a_name_that_points_outside_is_refused(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = app
    await put_pool(client)
    real = socket.getaddrinfo

    def answered(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        addresses = {"public.test": ["93.184.215.14"], "mixed.test": ["127.0.0.1", "93.184.215.14"],
                     "metadata.test": ["169.254.169.254"]}.get(host)  # fmt: skip
        if addresses is None:
            return real(host, port, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    # The resolver is the edge of the process: there is nothing of ours to give it another answer through.
    monkeypatch.setattr(socket, "getaddrinfo", answered)
    for host in ("public.test", "mixed.test", "metadata.test"):
        answer = await client.post("/v1/agents", json={"pool": "echo", "url": f"http://{host}:80"})
        assert "outside" in refused(answer, 422, "address_not_allowed")["detail"]


async def test_a_name_that_moves_outside_later_is_not_called(
    app: App, agents: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, yard = app
    agent = await agents()
    port = int(agent.url.rpartition(":")[2])
    real = socket.getaddrinfo
    moved = False

    def answered(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host != "moving.test":
            return real(host, port, *args, **options)
        address = "169.254.169.254" if moved else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answered)
    await put_pool(client, max_attempts=2)
    made = await register(client, f"http://moving.test:{port}")
    moved = True
    # A heartbeat makes it fit to work before anybody has looked its name up again.
    await client.post(f"/v1/agents/{made['id']}/heartbeat", json={})
    await yard.executor.close()
    await yard.executor.open()  # forget the names looked up so far, as time would
    task = await run(client)
    assert (task["status"], task["error"]["code"]) == ("failed", "address_not_allowed")
    assert not agent.calls


async def test_an_agent_that_redirects_is_not_followed(client: httpx.AsyncClient, agents: Any) -> None:
    other = await agents()

    async def redirect(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        to = request.query.get("to") or f"{other.url}/execute"
        return web.Response(status=307, headers={"Location": to})

    async def to_metadata(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    for name, handler in (("redirects", redirect), ("metadata", to_metadata)):
        agent = await agents(handler=handler)
        await put_pool(client, name, max_attempts=2)
        await register(client, agent.url, name)
        task = await run(client, pool=name)
        assert (task["status"], task["error"]["code"]) == ("failed", "executor_bad_response")
        assert "redirect" in task["error"]["message"]
        assert len(agent.calls) == 2
    assert not other.calls


async def test_where_agents_may_be(client: httpx.AsyncClient, agents: Any) -> None:
    await put_pool(client)
    port = (await agents()).url.rpartition(":")[2]
    for url in (f"http://localhost:{port}", f"http://[::1]:{port}/base", "https://10.1.2.3:8443", "http://192.168.0.9",
                "http://172.16.0.1:1/a/b", "http://[fc00::1]:9", "http://100.64.0.1"):  # fmt: skip
        assert (await register(client, url))["url"] == url
