"""Whatever is sent: a problem with a stable code, never a 500, and nothing written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from app.wiring import Yard
from tests.api.verbs import put_pool, refused, rows, submit

App = tuple[httpx.AsyncClient, Yard]
JSON = {"Content-Type": "application/json"}
LIMIT = 1_048_576
SOME = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"

BODIES: list[tuple[bytes, int, str]] = [
    (b"", 422, "validation_error"),
    (b"{", 400, "malformed_json"),
    (b'{"pool": "echo",}', 400, "malformed_json"),
    (b"{'pool': 'echo'}", 400, "malformed_json"),
    (b'{"pool": "echo"} {}', 400, "malformed_json"),
    (b'\xef\xbb\xbf{"pool": "echo"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": NaN}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": -Infinity}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": 01}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": 1e999}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "\xff\xfe"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "\xc0\x80"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "\xed\xa0\x80"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "\\ud800"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "\\udc00\\ud800"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "a\x00b"}', 400, "malformed_json"),
    (b'{"pool": "echo", "payload": ' + b"[" * 2000 + b"]" * 2000 + b"}", 400, "malformed_json"),
    (b'{"pool": "echo", "payload": ' + b"[" * 300 + b"]" * 300 + b"}", 400, "malformed_json"),
    (b'{"pool": "echo", "payload": ' + b'{"a":' * 2000 + b"1" + b"}" * 2001, 400, "malformed_json"),
    (b'{"pool": "echo", "payload": ' + b"[" * 500_000, 400, "malformed_json"),
    (b'{"pool": "echo", "payload": "a\\u0000b"}', 422, "null_byte"),
    (b'{"pool": "echo", "payload": {"a\\u0000b": 1}}', 422, "null_byte"),
    (b'{"pool": "echo", "payload": [[{"k": ["\\u0000"]}]]}', 422, "null_byte"),
    (b'{"pool": "ec\\u0000ho"}', 422, "null_byte"),
    (b'{"pool": "echo", "payload": 1' + b"0" * 30 + b"}", 422, "number_out_of_range"),
    (b'{"pool": "echo", "payload": 9223372036854775808}', 422, "number_out_of_range"),
    (b'{"pool": "echo", "payload": -' + b"9" * 5000 + b"}", 400, "malformed_json"),
    (b'{"pool": "echo", "priority": 1' + b"0" * 30 + b"}", 422, "number_out_of_range"),
    (b"null", 422, "validation_error"),
    (b"[]", 422, "validation_error"),
    (b'"echo"', 422, "validation_error"),
    (b"1", 422, "validation_error"),
]

FIELDS: list[dict[str, Any]] = [
    {"pool": 1}, {"pool": ""}, {"pool": "a b"}, {"pool": "x" * 64}, {"pool": "é"}, {"pool": "echo\n"}, {"pool": None},
    {"pool": ["echo"]}, {"unknown": 1}, {"Pool": "echo"}, {"type": ""}, {"type": "x" * 101}, {"type": 1},
    {"priority": 1001}, {"priority": -1001}, {"priority": 1.5}, {"priority": "high"}, {"priority": None},
    {"priority": [1]}, {"deadline_s": 0}, {"deadline_s": -1}, {"deadline_s": 1e300}, {"deadline_s": "soon"},
    {"run_at": "tomorrow"}, {"run_at": "2030-01-01T00:00:00"}, {"run_at": "9999-12-31T23:59:59-23:59"},
    {"run_at": "0001-01-01T00:00:00+14:00"}, {"run_at": 1e300}, {"run_at": -1e18}, {"run_at": {}},
    {"agent_id": "x"}, {"agent_id": "٠" * 32}, {"agent_id": 1}, {"agent_id": SOME + "0"},
    {"concurrency_key": ""}, {"concurrency_key": "k" * 201}, {"thread_id": ""}, {"thread_id": 5},
    {"complexity": -0.1}, {"complexity": 1.1}, {"complexity": "x"}, {"max_attempts": 0}, {"max_attempts": 101},
    {"max_attempts": 2.5}, {"synthetic": "perhaps"}, {"synthetic": 2},
]  # fmt: skip


async def test_bodies_that_cannot_be_read(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)
    for body, status, code in BODIES:
        for path in ("/v1/tasks", "/v1/tasks/batch"):
            answer = await client.post(path, content=body, headers=JSON)
            try:
                refused(answer, status, code)
            except AssertionError as exc:
                raise AssertionError(f"{path} {body[:60]!r}: {exc}") from None
    assert await rows(yard) == before


async def test_negative_zero_and_the_largest_integers_are_numbers(app: App) -> None:
    client, _ = app
    await put_pool(client)
    for text in ("-0", "-0.0", "9223372036854775807", "-9223372036854775808", "1e308", "5e-324"):
        answer = await client.post("/v1/tasks", content=f'{{"pool": "echo", "payload": {text}}}', headers=JSON)
        assert answer.status_code == 202
        task = await client.get(answer.headers["location"])
        assert json.loads(task.text)["payload"] == json.loads(text)


async def test_fields_that_cannot_be(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)
    for field in FIELDS:
        body = {"pool": "echo", **field}
        problem = refused(await client.post("/v1/tasks", json=body), 422, "validation_error")
        assert problem["errors"], field
        batch = await client.post("/v1/tasks/batch", json={"tasks": [{"pool": "echo"}, body]})
        assert refused(batch, 422, "validation_error")["errors"][0]["path"].startswith("tasks.1")
    assert await rows(yard) == before


async def test_the_other_operations_refuse_what_they_do_not_know(app: App) -> None:
    client, yard = app
    await put_pool(client)
    task_id = await submit(client)
    before = await rows(yard)
    for method, path, body in (
        ("PUT", "/v1/pools/p", {"slots": 0}),
        ("PUT", "/v1/pools/p", {"slots": 2**40}),
        ("PUT", "/v1/pools/p", {"timeout_s": 1e308}),
        ("PUT", "/v1/pools/p", {"retry": {"factor": 11}}),
        ("PUT", "/v1/pools/p", {"retry": {"initial_s": 1, "more": 1}}),
        ("PUT", "/v1/pools/p", {"skills": {"a": "x"}}),
        ("PUT", "/v1/pools/p", {"description": "x" * 2001}),
        ("POST", "/v1/pools/echo/scale", {}),
        ("POST", "/v1/pools/echo/scale", {"replicas": 1, "by": 1}),
        ("POST", "/v1/agents", {"pool": "echo", "url": "http://127.0.0.1:1", "slots": 0}),
        ("POST", "/v1/agents", {"pool": "echo", "url": "http://127.0.0.1:1", "weight": 11}),
        ("POST", "/v1/agents", {"pool": "echo", "url": "http://127.0.0.1:1", "labels": {"a": 1}}),
        ("POST", f"/v1/agents/{SOME}/heartbeat", {"running": -1}),
        ("POST", f"/v1/agents/{SOME}/heartbeat", {"status": "gone"}),
        ("POST", f"/v1/tasks/{task_id}/cancel", {"reason": "x" * 501}),
        ("POST", f"/v1/tasks/{task_id}/cancel", {"why": "x"}),
        ("POST", "/v1/keys", {"name": "", "scopes": ["admin"]}),
        ("POST", "/v1/keys", {"name": "n", "scopes": []}),
        ("POST", "/v1/keys", {"name": "n", "scopes": ["root"]}),
        ("POST", "/v1/keys", {"name": "n", "scopes": ["admin"], "expires_s": 0}),
        ("POST", "/v1/keys", {"name": "n", "scopes": ["admin"], "tenant": "a b"}),
    ):
        refused(await client.request(method, path, json=body), 422, "validation_error")
        nul = json.dumps(body | {"x": "\0"}).encode()
        refused(await client.request(method, path, content=nul, headers=JSON), 422, "null_byte")
    assert await rows(yard) == before


async def test_bodies_past_the_limit_are_refused_by_count_not_by_word(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)

    async def chunks(size: int) -> AsyncIterator[bytes]:
        yield b'{"pool": "echo", "payload": "'
        for _ in range(size // 65_536):
            yield b"x" * 65_536
        yield b'"}'

    for path in ("/v1/tasks", "/v1/tasks/batch", "/v1/agents", "/v1/keys"):
        declared = await client.post(path, content=b"[" * (LIMIT + 1), headers=JSON)
        refused(declared, 413, "body_too_large")
        counted = await client.post(path, content=chunks(LIMIT + 65_536), headers=JSON)
        refused(counted, 413, "body_too_large")
    small = {**JSON, "Content-Length": "10"}
    lying = await client.post("/v1/tasks", content=chunks(LIMIT + 65_536), headers=small)
    refused(lying, 413, "body_too_large")
    assert await rows(yard) == before
    fits = await client.post("/v1/tasks", content=chunks(LIMIT - 65_536), headers=JSON)
    assert fits.status_code == 202


async def test_other_content_types_are_not_json(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)
    body = b'{"pool": "echo"}'
    kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml",
             "", "application/octet-stream", "/", "a" * 2000]  # fmt: skip
    for kind in kinds:
        answer = await client.post("/v1/tasks", content=body, headers={"Content-Type": kind})
        refused(answer, 422, "validation_error")
    assert await rows(yard) == before
    for kind in ("application/json; charset=utf-8", "application/problem+json"):
        answer = await client.post("/v1/tasks", content=body, headers={"Content-Type": kind})
        assert answer.status_code == 202


async def test_routes_and_methods_there_are_not(client: httpx.AsyncClient) -> None:
    for path in ("/v1", "/v2/tasks", "/v1/tasks/", "/v1/task", "/v1/tasks/batch/x", "/admin", "/v1/%2e%2e/keys",
                 "//v1/tasks", "/.env", "/v1/tasks/x/y/z"):  # fmt: skip
        for method in ("GET", "POST", "DELETE"):
            answer = await client.request(method, path)
            assert answer.status_code in (404, 405), (method, path, answer.status_code)
            refused(answer, answer.status_code, {404: "route_not_found", 405: "method_not_allowed"}[answer.status_code])
    for method in ("OPTIONS", "PATCH", "PUT", "TRACE", "BREW"):
        answer = await client.request(method, "/v1/tasks")
        refused(answer, 405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) & {"GET", "POST"}
    head = await client.head("/v1/tasks")
    assert (head.status_code, head.headers["content-type"]) == (405, "application/problem+json")


async def test_ids_that_are_none(client: httpx.AsyncClient) -> None:
    ids = ["x", "1", SOME[:-1], SOME + "0", SOME.replace("-", "", 1) + "-", "٠" * 32, "０" * 8 + SOME[8:],
           "%F0%9F%98%80", "a%20b", "x" * 3000, "%ff%fe", "null", "-1", "1e999"]  # fmt: skip
    for text in ids:
        for method, path in (
            ("GET", "/v1/tasks/{}"), ("POST", "/v1/tasks/{}/cancel"), ("POST", "/v1/tasks/{}/retry"),
            ("GET", "/v1/tasks/{}/events"), ("GET", "/v1/agents/{}"), ("DELETE", "/v1/agents/{}"),
            ("POST", "/v1/agents/{}/drain"),
        ):  # fmt: skip
            refused(await client.request(method, path.format(text)), 422, "validation_error")
        if len(text) < 100:
            answer = await client.request("DELETE", f"/v1/keys/{text}")
            assert answer.status_code in (404, 422), answer.text
    for path in ("/v1/tasks/{}", "/v1/agents/{}", "/v1/pools/{}"):
        refused(await client.get(path.format("a%00b")), 422, "null_byte")
    refused(await client.delete("/v1/keys/a%00b"), 422, "null_byte")


async def test_query_parameters_are_strict(client: httpx.AsyncClient) -> None:
    for path in ("/v1/tasks", "/v1/pools", "/v1/agents", "/v1/keys"):
        for size in ("0", "-1", "501", "1e3", "1.5", "x", "", "9" * 400, "٣", "null"):
            refused(await client.get(path, params={"page_size": size}), 422, "validation_error")
        refused(await client.get(path, params={"page_token": "x" * 501}), 422, "validation_error")
        refused(await client.get(path, params={"page_token": "a\x00"}), 422, "null_byte")
        problem = refused(await client.get(path, params={"limit": 5}), 422, "validation_error")
        assert problem["errors"] == [{"path": "limit", "message": "unknown"}]
    for name, value in (("status", "done"), ("status", ""), ("pool", "a b"), ("pool", ""), ("pool", "x" * 64)):
        for path in ("/v1/tasks", "/v1/agents"):
            refused(await client.get(path, params={name: value}), 422, "validation_error")
    refused(await client.get("/v1/tasks?pool=%ff%fe"), 422, "validation_error")
    refused(await client.get("/v1/tasks?pool=%ed%a0%80"), 422, "validation_error")


async def test_headers_are_bounded_and_cannot_break_out(app: App) -> None:
    client, yard = app
    await put_pool(client)
    before = await rows(yard)
    body = {"pool": "echo"}
    for key in ("", "k" * 201):
        answer = await client.post("/v1/tasks", json=body, headers={"Idempotency-Key": key})
        refused(answer, 422, "validation_error")
    answer = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=1," * 100})
    refused(answer, 422, "validation_error")
    assert await rows(yard) == before
    for path in ("/v1/tasks/a%0d%0aSet-Cookie:%20a=b", "/v1/pools/x%0d%0aSet-Cookie:%20a=b", "/%0d%0aX-Y:%20z"):
        answer = await client.get(path)
        assert answer.status_code in (404, 422)
        assert not {"set-cookie", "x-y"} & set(answer.headers)
    odd = (b"Idempotency-Key", "k\xe9y \xff".encode("latin-1"))
    strange = await client.post("/v1/tasks", json=body, headers=[odd])
    assert strange.status_code == 202


async def raw(url: str, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; the status and everything that came back."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(10):
            answer = await reader.read(65_536)
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer


async def test_bytes_that_are_not_quite_http(served: App) -> None:
    client, yard = served
    await put_pool(client)
    before = await rows(yard)
    url, key = str(client.base_url), client.headers["authorization"].encode()
    head = b" HTTP/1.1\r\nHost: yard\r\nConnection: close\r\nAuthorization: " + key + b"\r\n"
    post = b"POST /v1/tasks" + head + b"Content-Type: application/json\r\n"
    for request in (
        post + b"Content-Length: x\r\n\r\n{}",
        post + b"Content-Length: -5\r\n\r\n{}",
        post + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        post + b"Content-Length: 99999999999\r\n\r\n{}",
        post + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        post + b"Idempotency-Key: a\x00b\r\nContent-Length: 16\r\n\r\n" + b'{"pool": "echo"}',
        b"GET /v1/tasks/a\x00b" + head + b"\r\n",
        b"GET /v1/tasks?pool=a\x00b" + head + b"\r\n",
        b"GET http://169.254.169.254/latest/meta-data" + head + b"\r\n",
        b"GET /v1/tasks HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"CONNECT 169.254.169.254:80" + head + b"\r\n",
    ):
        status, answer = await raw(url, request)
        assert 400 <= status < 500, (request[:90], answer[:300])
    assert await rows(yard) == before
    batch = b'{"tasks": [{"pool": "echo"}]}'
    for character in (b"\x1f", b"\x7f", b"\t"):  # what separates a batch's keys cannot come from outside
        keyed = post + b"Idempotency-Key: k" + character + b"0\r\nContent-Length: 16\r\n\r\n" + b'{"pool": "echo"}'
        status, answer = await raw(url, keyed)
        assert status in (202, 400, 422), answer
    answer_of_batch = await client.post("/v1/tasks/batch", content=batch, headers={**JSON, "Idempotency-Key": "k"})
    assert answer_of_batch.status_code == 202
