"""A copy of the cluster that is behind, and answers that come late: no agent is given up, no pod is taken for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.scaling.backends.kubernetes import pods
from app.scaling.backends.kubernetes.roster import Occupant, Seats
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import NAMESPACE, Ground
from tests.scaling.kubernetes.test_fleet import grown, notes_on, statuses
from tests.support.waiting import until_async

type Json = dict[str, Any]


async def blind_tick(yard: Ground) -> None:
    """A pass by what the mirrors have, however old."""
    await yard.view.refresh()
    await yard.loop.tick()


async def cut_off(yard: Ground) -> list[str]:
    """The watch of pods is dumb, and two are wanted where one was: the old one, and one that nobody heard of."""
    (old,) = await grown(yard, 1)
    await yard.caught_up()
    yard.cluster.cut_watches("pods")
    await yard.want(2)
    await blind_tick(yard)
    await yard.cluster.reconcile()
    await yard.register()
    return [old, next(pod for pod in yard.pod_names() if pod != old)]


async def test_a_dumb_watch_takes_no_agent_away(yard: Ground) -> None:
    _, new = await cut_off(yard)
    await yard.sql("UPDATE agents SET registered_at = registered_at - interval '61 s'")
    await yard.busy(new)
    await blind_tick(yard)
    assert await yard.task_states() == [("running", 1)]
    assert (await statuses(yard))[new] in ("idle", "busy")


async def test_a_dumb_watch_deletes_no_deployment_whose_pods_work(yard: Ground) -> None:
    old, new = await cut_off(yard)
    await yard.busy(new)
    await yard.pool("p", launch={"kind": "external"}, scale={"min": 0, "max": 9})
    for _ in range(3):
        await blind_tick(yard)
    assert yard.deployment()
    assert (await statuses(yard))[old] == "draining"
    assert await yard.task_states() == [("running", 1)]


async def test_pods_that_are_not_seen_are_not_given_up_without_asking(yard: Ground) -> None:
    old, new = await cut_off(yard)
    await yard.busy(old)
    await yard.busy(new)
    await yard.want(1)
    for _ in range(4):
        await blind_tick(yard)
        await yard.cluster.reconcile()
    assert (yard.replicas(), len(yard.pod_names())) == (2, 2)
    assert list((await statuses(yard)).values()).count("draining") == 1


async def test_the_scale_is_not_lowered_before_a_watch_told_of_the_costs(yard: Ground) -> None:
    pods_there = await grown(yard, 2)
    await yard.want(1)
    await yard.tick()
    await yard.caught_up()
    yard.cluster.cut_watches("pods")
    for _ in range(3):
        await blind_tick(yard)
    assert sum(pods.COST in notes_on(yard, name) for name in pods_there) == 1
    assert yard.replicas() == 2
    yard.cluster.end_watches()
    await yard.tick()
    assert yard.replicas() == 1


async def test_an_answer_that_comes_after_a_newer_event_is_not_judged_by(yard: Ground) -> None:
    await grown(yard, 1)
    api = yard.backend._api
    apply = api.apply

    async def slowly(resource: str, manifest: Json) -> Json:
        answer = await apply(resource, manifest)
        await yard.cluster.reconcile()
        await yard.caught_up()
        return answer

    api.apply = slowly  # type: ignore[method-assign]
    yard.cluster.patch("Deployment", yard.home(), {"spec": {"revisionHistoryLimit": 7}}, NAMESPACE)
    await yard.want(3)
    await yard.tick()
    assert yard.replicas() == 3
    assert await yard.conditions() == {}


async def test_a_pod_that_went_while_it_was_annotated_is_no_ghost(yard: Ground) -> None:
    await grown(yard, 3)
    api = yard.backend._api
    annotate = api.annotate

    async def slowly(name: str, annotations: Mapping[str, str]) -> Json | None:
        answer = await annotate(name, annotations)
        yard.cluster.delete("Pod", name, NAMESPACE, gracePeriodSeconds=0)
        await yard.caught_up()
        return answer

    api.annotate = slowly  # type: ignore[method-assign]
    await yard.want(2)
    await yard.tick()
    api.annotate = annotate  # type: ignore[method-assign]
    await yard.turn(4)
    assert yard.replicas() == len(yard.pod_names()) == 2
    assert set(yard.mirrors._pods.objects) == set(yard.pod_names())


async def test_after_a_conflict_the_deployment_is_read(yard: Ground) -> None:
    await grown(yard, 1)
    await yard.caught_up()
    yard.cluster.cut_watches("deployments")
    yard.cluster.patch("Deployment", yard.home(), {"metadata": {"annotations": {"x": "y"}}}, NAMESPACE)
    await yard.want(2)
    await blind_tick(yard)
    assert yard.replicas() == 1
    await blind_tick(yard)
    assert yard.replicas() == 2
    assert await yard.conditions() == {}


async def test_conflicts_without_end_are_a_condition(yard: Ground, cluster: FakeCluster) -> None:
    await grown(yard, 1)
    await yard.want(2)
    cluster.faults.answer(409, verb="patch", times=5)
    for _ in range(4):
        await yard.tick()
        assert await yard.conditions() == {}
    await yard.tick()
    assert "conflict" in await yard.conditions()
    await yard.tick()
    assert (yard.replicas(), await yard.conditions()) == (2, {})


async def test_a_pod_is_parsed_when_it_changes_and_no_more(yard: Ground) -> None:
    names = await grown(yard, 2)
    await yard.caught_up()
    first = yard.mirrors.pods_of(yard.home())
    await yard.tick()
    assert [pod.name for pod in first] == sorted(names)
    assert all(one is other for one, other in zip(first, yard.mirrors.pods_of(yard.home()), strict=True))
    assert yard.mirrors.pods_of("another") == []


async def test_many_changes_at_once_ask_for_one_pass(yard: Ground) -> None:
    await grown(yard, 1)
    await yard.tick()
    asked: list[int] = []

    async def quiet() -> bool:
        return yard.mirrors._asking is None

    await until_async(quiet, "nothing is asked for any more")
    yard.backend.on_change = lambda: asked.append(1)
    (raw,) = yard.mirrors.raw_pods_of(yard.home())
    version = int(raw["metadata"]["resourceVersion"])
    for number in range(50):
        notes = {**raw["metadata"]["annotations"], pods.COST: str(number)}
        metadata = {**raw["metadata"], "annotations": notes, "resourceVersion": str(version + number)}
        yard.mirrors.put_pod({**raw, "metadata": metadata})
    await until_async(quiet, "it was asked for")
    assert asked == [1]


def test_agents_are_found_by_their_label_or_else_by_their_address() -> None:
    def occupant(pod: str | None, host: str) -> Occupant:
        return Occupant(UUID(int=1), pod, host, "idle", 1, 0.0, 99.0)

    by_label, by_address, elsewhere = occupant("a", "10.0.0.9"), occupant(None, "10.0.0.1"), occupant("b", "10.0.0.1")
    seats = Seats([by_label, by_address, elsewhere])
    assert seats.inside(pods.Pod("a", ip="10.0.0.1")) == [by_label, by_address]
    assert seats.inside(pods.Pod("a")) == [by_label]
    assert seats.of([pods.Pod("b", ip="10.0.0.7"), pods.Pod("c")]) == [elsewhere]
