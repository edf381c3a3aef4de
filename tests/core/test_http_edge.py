"""The ASGI edge by itself: page tokens that anybody may forge, bodies of any length."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import MutableMapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from app.core.errors import BadPageToken
from app.core.http import BodyLimit, BodyTooLarge, decode_page_token, encode_page_token

cursors = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), min_size=1, max_size=4)


@given(cursors)
def test_a_token_gives_back_its_parts_and_is_safe_in_a_query(parts: list[str]) -> None:
    token = encode_page_token(*parts)
    assert decode_page_token(token, len(parts)) == parts
    assert token.isascii() and not set(token) & set("+/=& #%")


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    ["x", "é", "====", "not base64!", "AA", forged({}), forged([1]), forged(["a", "b"]), forged([]), forged("a"),
     forged([None]), forged(["a\x00b"])],
)  # fmt: skip
def test_a_forged_token_is_a_problem(token: str) -> None:
    with pytest.raises(BadPageToken):
        decode_page_token(token, 1)


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_is_a_token_or_a_problem(token: str) -> None:
    try:
        parts = decode_page_token(token, 1)
    except BadPageToken:
        return
    assert len(parts) == 1 and "\x00" not in parts[0]


async def counting(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the whole body and answers with its length."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


def call(chunks: Sequence[bytes], length: bytes | None = None) -> list[MutableMapping[str, Any]]:
    """What a limit of 100 bytes lets the application answer; raises what reaches the application's receive."""
    sent: list[MutableMapping[str, Any]] = []
    left = [{"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1} for i, chunk in enumerate(chunks)]

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", length)]
    scope = {"type": "http", "path": "/v1/tasks", "method": "POST", "headers": headers}
    asyncio.run(BodyLimit(counting, 100, 1000)(scope, receive, send))
    return sent


@pytest.mark.parametrize("chunks", [[b""], [b"x" * 100], [b"x"] * 100, [b"x" * 50, b"", b"x" * 50]])
def test_bodies_up_to_the_limit_pass(chunks: list[bytes]) -> None:
    total = sum(map(len, chunks))
    for length in (None, str(total).encode(), b"5"):
        assert call(chunks, length)[1]["body"] == str(total).encode()


@pytest.mark.parametrize("length", [None, b"5", b"-1", b"abc", b"", b"\xb2"])
@pytest.mark.parametrize("chunks", [[b"x" * 101], [b"x"] * 101, [b"x" * 60, b"x" * 60]])
def test_a_larger_body_is_refused_while_it_arrives_whatever_it_declared(
    chunks: list[bytes], length: bytes | None
) -> None:
    with pytest.raises(BodyTooLarge):
        call(chunks, length)


@pytest.mark.parametrize("length", [b"101", b"9" * 30, b"9" * 5000])
def test_a_declared_length_past_the_limit_is_answered_before_a_byte_is_read(length: bytes) -> None:
    start, body = call([b"never read"], length)
    assert start["status"] == 413
    assert orjson.loads(body["body"])["code"] == "body_too_large"
    assert (b"connection", b"close") in start["headers"]


def test_other_protocols_pass_untouched() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    asyncio.run(BodyLimit(app, 1, 1)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
