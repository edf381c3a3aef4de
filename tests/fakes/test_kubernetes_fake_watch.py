"""The fake API's watches: versions, bookmarks, expiry, and the ways they die."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from kubernetes_asyncio import client, watch

from tests.fakes.kubernetes import FakeCluster
from tests.fakes.workloads import core_api, pod

PODS = "/api/v1/namespaces/default/pods"


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition, at most 10 s."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(cluster: FakeCluster, **query: str) -> AsyncIterator[Callable[[], Any]]:
    """An open watch of pods; calling what it yields reads the next event (None at its end)."""
    asked = {"watch": "1", "timeoutSeconds": "20", **query}
    async with aiohttp.ClientSession(cluster.url) as http, AsyncExitStack() as stack:
        answer = await stack.enter_async_context(http.get(PODS, params=asked))
        assert answer.status == 200

        async def read() -> tuple[str, dict[str, Any]] | None:
            async with asyncio.timeout(60):
                line = await answer.content.readline()
            event = json.loads(line) if line else None
            return (event["type"], event["object"]) if event else None

        yield read


async def test_a_watch_goes_on_where_the_list_ended(cluster: FakeCluster, api: client.ApiClient) -> None:
    core = core_api(api)
    cluster.create(pod("old"))
    listed = await core.list_namespaced_pod("default")
    cluster.create(pod("new"))
    seen = []
    async with watch.Watch() as events:
        version = listed.metadata.resource_version
        stream = events.stream(core.list_namespaced_pod, "default", resource_version=version, timeout_seconds=20)
        async for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 1:
                cluster.patch("Pod", "new", {"metadata": {"labels": {"a": "b"}}})
                cluster.delete("Pod", "old", gracePeriodSeconds=0)
            if len(seen) == 3:
                break
    assert seen == [("ADDED", "new"), ("MODIFIED", "new"), ("DELETED", "old")]


async def test_without_a_version_it_begins_with_what_there_is(cluster: FakeCluster) -> None:
    cluster.create(pod("a"))
    async with watching(cluster) as read:
        kind, body = await read()
        assert (kind, body["metadata"]["name"]) == ("ADDED", "a")


async def test_an_object_that_leaves_the_selection_is_deleted_for_the_watcher(cluster: FakeCluster) -> None:
    async with watching(cluster, labelSelector="pool=x") as read:
        cluster.create(pod("a"))
        for labels in ({"pool": "x"}, {"pool": "x", "more": "y"}, {"pool": "z"}):
            cluster.patch("Pod", "a", {"metadata": {"labels": labels}})
        assert [(await read())[0] for _ in range(3)] == ["ADDED", "MODIFIED", "DELETED"]


async def test_bookmarks_carry_the_newest_version(cluster: FakeCluster) -> None:
    async with watching(cluster, allowWatchBookmarks="true") as read, watching(cluster) as plain:
        cluster.create({"kind": "ConfigMap", "metadata": {"name": "other"}})
        await until(lambda: cluster.open_watches == 2)
        cluster.bookmark()
        kind, body = await read()
        assert (kind, body["metadata"]["resourceVersion"]) == ("BOOKMARK", str(cluster.store.version))
        cluster.create(pod("a"))
        assert (await plain())[0] == "ADDED"


async def test_initial_events_end_with_a_bookmark(cluster: FakeCluster) -> None:
    cluster.create(pod("a"))
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    async with watching(cluster, **query) as read:
        assert (await read())[0] == "ADDED"
        kind, body = await read()
        assert (kind, body["metadata"]["annotations"]) == ("BOOKMARK", {"k8s.io/initial-events-end": "true"})


@pytest.mark.parametrize("how", ["event", "status"])
async def test_an_expired_version(cluster: FakeCluster, api: client.ApiClient, how: str) -> None:
    core = core_api(api)
    version = (await core.list_namespaced_pod("default")).metadata.resource_version
    cluster.create(pod("a"))
    cluster.compact()
    cluster.expire_by(how)
    async with aiohttp.ClientSession(cluster.url) as http:
        answer = await http.get(PODS, params={"watch": "1", "resourceVersion": version})
        body = json.loads(await answer.text())
    if how == "event":
        assert (answer.status, body["type"]) == (200, "ERROR")
        body = body["object"]
    else:
        assert answer.status == 410
    assert (body["code"], body["reason"]) == (410, "Expired")
    assert body["message"].startswith("too old resource version")


async def test_the_log_is_bounded() -> None:
    async with FakeCluster(log_size=3) as cluster:
        version = str(cluster.store.version)
        for number in range(4):
            cluster.create(pod(f"p{number}"))
        async with watching(cluster, resourceVersion=version) as read:
            assert (await read())[0] == "ERROR"


async def test_a_watch_that_has_kept_up_survives_compaction(cluster: FakeCluster) -> None:
    async with watching(cluster) as read:
        cluster.create(pod("a"))
        await read()
        cluster.compact()
        cluster.create(pod("b"))
        assert (await read())[1]["metadata"]["name"] == "b"


async def test_watches_end(cluster: FakeCluster) -> None:
    for number in range(3):
        cluster.create(pod(f"p{number}"))
    cluster.faults.watch_events = 2
    async with watching(cluster) as read:
        assert [bool(await read()) for _ in range(3)] == [True, True, False]
    cluster.faults.clear()
    cluster.faults.watch_life_s = 0.05
    async with watching(cluster, resourceVersion=str(cluster.store.version)) as read:
        assert await read() is None
    cluster.faults.clear()
    async with watching(cluster, resourceVersion=str(cluster.store.version)) as read:
        await until(lambda: cluster.open_watches == 1)
        cluster.end_watches()
        assert await read() is None
    cluster.faults.watch_abort = True
    async with watching(cluster, resourceVersion=str(cluster.store.version)) as read:
        await until(lambda: cluster.open_watches == 1)
        cluster.end_watches()
        with pytest.raises(aiohttp.ClientError):
            await read()


async def test_a_client_that_leaves_closes_its_watch(cluster: FakeCluster) -> None:
    async with watching(cluster):
        await until(lambda: cluster.open_watches == 1)
    await until(lambda: cluster.open_watches == 0)
