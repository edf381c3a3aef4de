"""Bodies as Go's typed clients send them."""

from __future__ import annotations

import aiohttp

from tests.fakes.kubernetes import FakeCluster
from tests.fakes.kubernetes.protobuf import MAGIC, read_body


def text(number: int, body: bytes | str) -> bytes:
    """One length-delimited field (short ones only)."""
    data = body.encode() if isinstance(body, str) else body
    return bytes((number << 3 | 2, len(data))) + data


def secret(name: str) -> bytes:
    labels = text(11, text(1, "owner") + text(2, "helm"))
    # 8 is creationTimestamp, which Go clients send empty.
    meta = text(1, name) + text(3, "default") + text(5, "") + text(8, b"") + labels
    raw = text(1, meta) + text(2, text(1, "release") + text(2, b"\x00\xff")) + text(3, "helm.sh/release.v1")
    return MAGIC + text(1, text(1, "v1") + text(2, "Secret")) + text(2, raw)


def test_a_secret() -> None:
    assert read_body(secret("s")) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default", "labels": {"owner": "helm"}},
        "data": {"release": "AP8="},
        "type": "helm.sh/release.v1",
    }


async def test_it_is_stored_like_any_other(cluster: FakeCluster) -> None:
    headers = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    path = "/api/v1/namespaces/default/secrets"
    async with aiohttp.ClientSession(cluster.url) as http:
        answer = await http.post(path, data=secret("s"), headers=headers)
        assert answer.status == 201
        for broken in (b"k8s\x00\x0a\xff", b"other", MAGIC + text(1, text(2, "Pod"))):
            assert (await http.post(path, data=broken, headers=headers)).status == 415
    assert cluster.objects("Secret", selector="owner=helm")[0]["data"] == {"release": "AP8="}
