"""The copy of the cluster: list, then watch; what ends a watch, and what that costs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.core.clock import Clock
from app.scaling.backends.kubernetes.client import SILENT_S, Api
from app.scaling.backends.kubernetes.credentials import Credentials
from app.scaling.backends.kubernetes.watch import RELIST_S, TOMBSTONE_S, Mirror
from app.settings import KubernetesSettings
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import AheadClock
from tests.support.waiting import until_async

SELECTOR = "app=ai-agent"
PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "ai-agent", **labels}},
        "spec": {"containers": [{"name": "agent", "image": "x:1"}]},
    }


async def soon(condition: Callable[[], object], what: str) -> None:
    async def check() -> object:
        return condition()

    await until_async(check, what)


class Seen:
    """A mirror of pods, and what it told."""

    def __init__(self, mirror: Mirror, told: list[tuple[str, str]]) -> None:
        self.mirror, self.told = mirror, told

    @property
    def names(self) -> set[str]:
        return set(self.mirror.objects)


@asynccontextmanager
async def watching(
    cluster: FakeCluster, folder: Path, *, watch_s: float = 60.0, silent_s: float = SILENT_S, clock: Clock | None = None
) -> AsyncIterator[Seen]:
    clock = clock or Clock()
    settings = KubernetesSettings(mode="kubeconfig", kubeconfig=str(cluster.kubeconfig(folder / "config")))
    api = Api(Credentials(settings), "default", clock, 1.0, silent_s=silent_s)
    await api.open()
    told: list[tuple[str, str]] = []

    def changed(before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        what = "came" if before is None else "went" if after is None else "changed"
        told.append((what, (after or before or {})["metadata"]["name"]))

    mirror = Mirror(
        api,
        clock,
        "pods",
        SELECTOR,
        watch_s=watch_s,
        changed=changed,
        rng=random.Random(1),
        pauses_s=(0.01, 0.1),
    )
    task = asyncio.create_task(mirror.run())
    try:
        yield Seen(mirror, told)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as running:
        yield running


async def test_it_has_what_is_there_and_what_comes_changes_and_goes(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.create(pod("a"))
    cluster.create({**pod("other"), "metadata": {"name": "other", "labels": {"app": "else"}}})
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.names == {"a"}, "the first list")
        cluster.create(pod("b"))
        await soon(lambda: seen.names == {"a", "b"}, "a new pod")
        cluster.patch("Pod", "b", {"metadata": {"annotations": {"x": "y"}}})
        await soon(lambda: ("changed", "b") in seen.told, "a changed pod")
        cluster.delete("Pod", "a", gracePeriodSeconds=0)
        await soon(lambda: seen.names == {"b"}, "a pod that is gone")
        assert ("went", "a") in seen.told
        assert len(cluster.requests("list", PODS)) == 1


async def test_a_watch_that_ends_goes_on_from_where_it_was(cluster: FakeCluster, tmp_path: Path) -> None:
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: cluster.open_watches == 1, "a watch")
        for number in range(3):
            cluster.end_watches()
            cluster.create(pod(f"p{number}"))
            await soon(lambda n=number: f"p{n}" in seen.names, "what came between two watches")  # type: ignore[misc]
        assert len(cluster.requests("list", PODS)) == 1
        assert len(cluster.requests("watch", PODS)) >= 2


async def test_bookmarks_move_the_place_to_go_on_from(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.create(pod("a"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: cluster.open_watches == 1, "a watch")
        for number in range(5):
            cluster.create({**pod(f"x{number}"), "metadata": {"name": f"x{number}"}})
        newest = cluster.objects("Pod")[-1]["metadata"]["resourceVersion"]

        def moved() -> bool:
            cluster.bookmark()
            return int(seen.mirror._version) >= int(newest)

        await soon(moved, "the bookmark")
        before = len(cluster.requests("watch", PODS))
        cluster.end_watches()
        await soon(lambda: len(cluster.requests("watch", PODS)) > before, "the next watch")
        assert int(cluster.requests("watch", PODS)[-1].query["resourceVersion"]) >= int(newest)


@pytest.mark.parametrize("how", ["event", "status"])
async def test_a_version_that_expired_is_read_anew_and_missed_ends_are_found(
    cluster: FakeCluster, tmp_path: Path, how: str
) -> None:
    cluster.expire_by(how)
    cluster.create(pod("a"))
    cluster.create(pod("b"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: cluster.open_watches == 1, "a watch")
        block = cluster.faults.answer(503, verb="watch", times=None)
        cluster.end_watches()
        await soon(lambda: block.seen > 0, "a watch that fails")
        cluster.delete("Pod", "a", gracePeriodSeconds=0)
        cluster.create(pod("c"))
        cluster.compact()
        cluster.faults.clear()
        await soon(lambda: seen.names == {"b", "c"}, "the list after 410")
        assert ("went", "a") in seen.told
        await soon(lambda: seen.mirror.failure is None, "it is well again")


@pytest.mark.parametrize("abort", [False, True])
async def test_a_watch_that_dies_after_each_event_is_no_storm_of_lists(
    cluster: FakeCluster, tmp_path: Path, abort: bool
) -> None:
    cluster.faults.watch_events, cluster.faults.watch_abort = 1, abort
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.mirror.synced, "the first list")
        for number in range(8):
            cluster.create(pod(f"p{number}"))
        await soon(lambda: len(seen.names) == 8, "all pods")
        assert len(cluster.requests("list", PODS)) == 1
        assert len(cluster.requests("watch", PODS)) <= 20


async def test_a_version_that_expires_every_time_is_no_storm_either(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.faults.answer(410, verb="watch", times=None)
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.mirror._short >= 6, "some tries")
        asked = len(cluster.requests("list", PODS))
        assert asked <= seen.mirror._short + 1
        assert seen.mirror._pause_s(lively=False) >= 0.05


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorized"), (403, "forbidden"), (500, "api_error"), (429, "throttled")]
)
async def test_what_keeps_it_from_reading_is_known_until_it_is_over(
    cluster: FakeCluster, tmp_path: Path, status: int, code: str
) -> None:
    cluster.faults.answer(status, times=None, retry_after_s=0 if status == 429 else None)
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.mirror.failure is not None, "a failure")
        assert seen.mirror.failure is not None
        assert seen.mirror.failure.code == code
        assert not seen.mirror.synced
        cluster.faults.clear()
        await soon(lambda: seen.mirror.failure is None and seen.mirror.synced, "it is well again")


async def test_a_watch_that_hangs_before_it_answers_is_a_failure(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.faults.hang(verb="watch", times=None)
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.mirror.failure is not None, "a failure")
        cluster.faults.clear()
        await soon(lambda: seen.mirror.failure is None, "the next watch")


async def test_a_pod_of_the_same_name_is_another_one(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.create(pod("a"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.names == {"a"}, "the first list")
        item = dict(seen.mirror.objects["a"])
        seen.mirror.put({**item, "metadata": {**item["metadata"], "uid": "another"}})
        assert seen.told[-2:] == [("went", "a"), ("came", "a")]


async def test_a_watch_whose_other_end_went_without_a_word_is_begun_anew(cluster: FakeCluster, tmp_path: Path) -> None:
    async with watching(cluster, tmp_path, silent_s=0.3) as seen:
        await soon(lambda: cluster.open_watches == 1, "a watch")
        cluster.cut_watches("pods")
        cluster.create(pod("a"))
        await soon(lambda: seen.names == {"a"}, "what came meanwhile")
        assert len(cluster.requests("list", PODS)) == 1
        assert seen.mirror.failure is None


async def test_what_an_answer_of_ours_says_is_not_taken_for_newer_than_a_later_event(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    answer = cluster.create(pod("a"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.names == {"a"}, "the first list")
        newer = cluster.patch("Pod", "a", {"metadata": {"annotations": {"x": "y"}}})
        await soon(lambda: ("changed", "a") in seen.told, "the change")
        told = list(seen.told)
        kept = seen.mirror.put(answer)
        assert kept["metadata"]["resourceVersion"] == newer["metadata"]["resourceVersion"]
        assert (seen.mirror.objects["a"], seen.told) == (kept, told)


async def test_what_is_gone_is_not_brought_back_by_an_old_answer(cluster: FakeCluster, tmp_path: Path) -> None:
    answer, clock = cluster.create(pod("a")), AheadClock()
    async with watching(cluster, tmp_path, clock=clock) as seen:
        await soon(lambda: seen.names == {"a"}, "the first list")
        cluster.delete("Pod", "a", gracePeriodSeconds=0)
        await soon(lambda: not seen.names, "its end")
        seen.mirror.put(answer)
        assert seen.names == set()
        cluster.create(pod("a"))
        await soon(lambda: seen.names == {"a"}, "another of that name")
        clock.forward(TOMBSTONE_S)
        cluster.delete("Pod", "a", gracePeriodSeconds=0)
        await soon(lambda: not seen.names, "its end")
        assert len(seen.mirror._dead) == 1


async def test_one_that_is_labelled_anew_is_back(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.create(pod("a"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: seen.names == {"a"}, "the first list")
        cluster.patch("Pod", "a", {"metadata": {"labels": {"app": "else"}}})
        await soon(lambda: not seen.names, "it is none of ours")
        cluster.patch("Pod", "a", {"metadata": {"labels": {"app": "ai-agent"}}})
        await soon(lambda: seen.names == {"a"}, "it is ours again")


async def test_all_is_read_anew_now_and_then(cluster: FakeCluster, tmp_path: Path) -> None:
    clock = AheadClock()
    async with watching(cluster, tmp_path, clock=clock) as seen:
        await soon(lambda: cluster.open_watches == 1, "a watch")
        clock.forward(RELIST_S * 1.2)
        cluster.create(pod("a"))
        cluster.end_watches()
        await soon(lambda: len(cluster.requests("list", PODS)) == 2, "the second list")
        await soon(lambda: seen.names == {"a"}, "what it has")


async def test_a_cluster_that_was_set_back_is_believed(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.create(pod("a"))
    async with watching(cluster, tmp_path) as seen:
        await soon(lambda: cluster.open_watches == 1 and seen.names == {"a"}, "a watch")
        later = dict(seen.mirror.objects["a"])
        seen.mirror.put({**later, "metadata": {**later["metadata"], "resourceVersion": "900000"}})
        seen.mirror._reached = 900_000
        cluster.compact()
        seen.mirror._version = "1"
        cluster.end_watches()
        await soon(lambda: seen.mirror.objects["a"]["metadata"]["resourceVersion"] != "900000", "what there is now")
