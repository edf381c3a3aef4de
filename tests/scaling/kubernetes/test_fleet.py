"""Pools over a cluster that works: growing, shrinking without loss, rollouts, pods that fail or vanish."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.core.db import Database
from app.scaling.backends.kubernetes.backend import UNREGISTERED_S
from app.scaling.backends.kubernetes.choice import DOOMED_COST
from app.scaling.backends.kubernetes.pods import COST, LEAVING_SINCE
from tests.fakes.kubernetes import FakeCluster, Image
from tests.scaling.kubernetes.ground import GRACE_S, NAMESPACE, Ground, ground
from tests.support.waiting import until_async


async def grown(yard: Ground, replicas: int, **launch: Any) -> list[str]:
    """A pool of so many working agents; the names of their pods, the oldest agent first."""
    await yard.wish(replicas, **launch)
    await yard.turn(2)
    ages = {agent.labels["pod"]: agent.registered_at for agent in await yard.agents() if agent.labels.get("pod")}
    assert len(yard.pod_names()) == replicas
    return sorted(yard.pod_names(), key=lambda name: ages[name])


def notes_on(yard: Ground, pod: str) -> dict[str, str]:
    found = yard.cluster.get("Pod", pod, NAMESPACE)
    return {} if found is None else found["metadata"].get("annotations", {})


async def statuses(yard: Ground) -> dict[str, str]:
    return {agent.labels["pod"]: agent.status for agent in await yard.agents()}


async def test_a_pool_grows_and_its_cold_starts_are_told_once(yard: Ground) -> None:
    await yard.wish(2)
    assert (await yard.fleet()).cold_starts_s == ()
    await yard.cluster.reconcile()
    first = await yard.fleet()
    assert (first.replicas, first.ready, first.cold_starts_s) == (2, 0, ())
    await yard.register()
    yard.clock.forward(21)
    second = await yard.fleet()
    assert (second.replicas, second.ready) == (2, 2)
    assert [round(seconds) // 3 for seconds in second.cold_starts_s] == [7, 7]
    assert (await yard.fleet()).cold_starts_s == ()


async def test_a_manager_that_comes_later_does_not_take_working_pods_for_cold_starts(
    yard: Ground, db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    await grown(yard, 2)
    async with ground(db, cluster, tmp_path) as later:
        assert (await later.fleet()).cold_starts_s == ()
        assert (await later.fleet()).ready == 2


async def test_idle_ones_leave_the_oldest_first_and_the_busy_stay(yard: Ground) -> None:
    pods = await grown(yard, 4)
    await yard.busy(pods[0])
    await yard.want(2)
    await yard.tick()
    assert {name for name, status in (await statuses(yard)).items() if status == "draining"} == set(pods[1:3])
    assert yard.replicas() == 4
    await yard.tick()
    assert [notes_on(yard, pod).get(COST) for pod in pods] == [None, str(DOOMED_COST), str(DOOMED_COST), None]
    assert yard.replicas() == 4  # only once whoever takes pods knows of these costs
    await yard.tick()
    assert yard.replicas() == 2
    await yard.turn(2)
    assert yard.pod_names() == sorted([pods[0], pods[3]])
    assert await yard.task_states() == [("running", 1)]


async def test_a_long_task_holds_its_pod_until_it_ends(yard: Ground) -> None:
    (pod,) = await grown(yard, 1, grace_s=600)
    await yard.busy(pod)
    await yard.want(0)
    await yard.turn(3)
    yard.clock.forward(599)
    await yard.turn(2)
    assert yard.pod_names() == [pod]
    assert await statuses(yard) == {pod: "draining"}
    await yard.ends(pod)
    await yard.turn(2)
    assert (yard.replicas(), yard.pods()) == (0, [])
    assert await yard.task_states() == [("succeeded", 1)]


async def test_what_runs_at_the_end_of_the_grace_is_returned_uncounted_before_the_pod_ends(yard: Ground) -> None:
    (pod,) = await grown(yard, 1)
    await yard.busy(pod, 2)
    await yard.want(0)
    await yard.tick()
    yard.clock.forward(GRACE_S + 1)
    await yard.tick()
    assert await yard.task_states() == [("queued", 0), ("queued", 0)]
    assert yard.pod_names() == [pod]
    await yard.turn(2)
    assert yard.pods() == []


async def test_a_pod_that_is_not_ready_leaves_before_an_idle_one(yard: Ground) -> None:
    pods = await grown(yard, 2)
    yard.cluster.images["acme/agents:1"] = Image.no_node()
    await yard.want(3)
    await yard.turn(2)
    assert len(yard.pod_names()) == 3
    await yard.want(2)
    await yard.turn(3)
    assert yard.pod_names() == sorted(pods)
    assert set((await statuses(yard)).values()) == {"idle"}


async def test_one_that_turns_unready_while_another_is_drained_is_not_taken_for_it(yard: Ground) -> None:
    pods = await grown(yard, 3)
    await yard.busy(pods[2])
    await yard.want(2)
    await yard.tick()
    sick = [{"type": "Ready", "status": "False"}]
    yard.cluster.patch("Pod", pods[2], {"status": {"conditions": sick}}, NAMESPACE, status=True)
    await yard.tick()
    assert yard.replicas() == 3
    await yard.cluster.reconcile()  # the kubelet finds it ready again
    await yard.turn(2)
    assert yard.pod_names() == sorted(pods[1:])


async def test_when_more_are_wanted_again_those_that_leave_go_and_new_ones_come(yard: Ground) -> None:
    pods = await grown(yard, 3)
    await yard.busy(pods[0])
    await yard.busy(pods[1])
    await yard.busy(pods[2])
    await yard.want(2)
    await yard.turn()
    await yard.want(3)
    await yard.turn(2)
    assert len(yard.pod_names()) == 4
    assert (await yard.fleet()).ready == 3
    leaving = next(pod for pod in pods if LEAVING_SINCE in notes_on(yard, pod))
    await yard.ends(leaving)
    await yard.turn(3)
    assert len(yard.pod_names()) == yard.replicas() == 3
    assert leaving not in yard.pod_names()


async def test_an_agent_that_somebody_drained_is_replaced(yard: Ground) -> None:
    pods = await grown(yard, 2)
    await yard.registry.drain(await yard.agent_of(pods[0]))
    await yard.turn(4)
    assert len(yard.pod_names()) == yard.replicas() == 2
    assert pods[0] not in yard.pod_names()


async def test_a_new_leader_goes_on_where_the_old_one_was(
    yard: Ground, db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    pods = await grown(yard, 3)
    await yard.busy(pods[0])
    await yard.want(1)
    await yard.tick()
    async with ground(db, cluster, tmp_path) as later:
        await later.turn(3)
        assert later.pod_names() == [pods[0]]
        assert await later.task_states() == [("running", 1)]


async def test_two_who_both_believe_to_lead_do_the_same_as_one(
    yard: Ground, db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with ground(db, cluster, tmp_path) as other:
        pods = await grown(yard, 4)
        await yard.busy(pods[0])
        for wanted in (1, 3, 2, 4, 1):
            await yard.want(wanted)
            for _ in range(6):
                await asyncio.gather(yard.tick(), other.tick())
                await yard.cluster.reconcile()
                await yard.register()
                assert yard.replicas() <= 8
            assert yard.replicas() == wanted
            assert len(yard.pod_names()) == wanted
            assert pods[0] in yard.pod_names()
        assert await yard.task_states() == [("running", 1)]
        assert await yard.conditions() == {}


async def test_a_changed_image_rolls_out_and_ending_pods_get_nothing_new(yard: Ground) -> None:
    pods = await grown(yard, 2)
    await yard.busy(pods[0])
    await yard.wish(2, image="acme/agents:2")
    await yard.tick()
    await yard.cluster.step()
    for _ in range(20):
        await yard.tick()
        ending = [pod["metadata"]["name"] for pod in yard.pods() if "deletionTimestamp" in pod["metadata"]]
        assert {(await statuses(yard)).get(name) for name in ending} <= {"draining", None}
        await yard.cluster.step()
        await yard.register()
    images = {pod["spec"]["containers"][0]["image"] for pod in yard.pods()}
    assert images == {"acme/agents:2"}
    assert len(yard.pod_names()) == 2
    assert (await yard.fleet()).ready == 2


async def test_during_a_rollout_the_scale_rises_but_does_not_fall(yard: Ground) -> None:
    await grown(yard, 2)
    yard.cluster.images["acme/agents:2"] = Image.never_ready()
    await yard.wish(2, image="acme/agents:2")
    await yard.turn(2)
    assert len(yard.pod_names()) == 3
    await yard.want(1)
    await yard.turn(2)
    assert yard.replicas() == 2
    assert set((await statuses(yard)).values()) == {"idle"}
    await yard.want(3)
    await yard.turn()
    assert yard.replicas() == 3
    await yard.want(0)
    await yard.turn(4)
    assert (yard.replicas(), yard.pods()) == (0, [])


async def test_a_pod_that_is_gone_is_an_agent_that_is_gone_without_any_pass(yard: Ground) -> None:
    pods = await grown(yard, 2)
    await yard.busy(pods[0])
    agent = await yard.agent_of(pods[0])
    yard.cluster.delete("Pod", pods[0], NAMESPACE, gracePeriodSeconds=0)

    async def gone() -> bool:
        return await yard.status(agent) == "gone" and await yard.task_states() == [("queued", 0)]

    await until_async(gone, "the agent is gone, and its task back in the queue")


async def test_a_pod_that_its_node_evicted_has_no_agent_any_more(yard: Ground) -> None:
    pods = await grown(yard, 2)
    agent = await yard.agent_of(pods[0])
    yard.cluster.patch("Pod", pods[0], {"status": {"phase": "Failed", "reason": "Evicted"}}, NAMESPACE, status=True)

    async def gone() -> bool:
        return await yard.status(agent) == "gone"

    await until_async(gone, "the agent is gone")
    await yard.turn(2)
    assert (await yard.fleet()).ready == 2


async def test_a_pod_that_is_told_to_end_drains_its_agent_without_any_pass(yard: Ground) -> None:
    pods = await grown(yard, 1)
    agent = await yard.agent_of(pods[0])
    yard.cluster.delete("Pod", pods[0], NAMESPACE)

    async def draining() -> bool:
        return await yard.status(agent) == "draining"

    await until_async(draining, "the agent drains")


async def test_what_a_pod_that_kubernetes_ends_still_runs_is_returned_before_it_is_killed(yard: Ground) -> None:
    (pod,) = await grown(yard, 1)
    await yard.busy(pod)
    yard.cluster.delete("Pod", pod, NAMESPACE)
    await yard.tick()
    yard.clock.forward(GRACE_S - 5)
    await yard.tick()
    assert await yard.task_states() == [("running", 1)]
    yard.clock.forward(10)
    await yard.tick()
    assert await yard.task_states() == [("queued", 0)]
    assert yard.cluster.get("Pod", pod, NAMESPACE) is not None


async def test_agents_whose_pod_went_while_nobody_looked_are_gone(yard: Ground) -> None:
    await grown(yard, 1)
    ghost = await yard.agent(1, "p", {"pod": "yardmaster-p-was-here"})
    newcomer = await yard.agent(2, "p", {"pod": "yardmaster-p-not-yet-seen"})
    await yard.sql("UPDATE agents SET registered_at = now() - interval '2 minutes' WHERE id = $1", ghost.id)
    await yard.tick()
    assert (await yard.status(ghost.id), await yard.status(newcomer.id)) == ("gone", "idle")


async def test_an_agent_without_the_label_is_known_by_its_address(yard: Ground) -> None:
    (pod,) = await grown(yard, 1)
    raw = yard.cluster.get("Pod", pod, NAMESPACE)
    assert raw is not None
    await yard.sql("UPDATE agents SET labels = '{}', url = $1", f"http://{raw['status']['podIP']}:8080")
    await yard.want(0)
    await yard.tick()
    assert [agent.status for agent in await yard.agents()] == ["draining"]


async def test_a_pool_that_is_gone_is_drained_then_deleted(yard: Ground) -> None:
    pods = await grown(yard, 2)
    await yard.busy(pods[0])
    await yard.pool("p", launch={"kind": "external"}, scale={"min": 0, "max": 9})
    await yard.turn(3)
    assert yard.pod_names() == [pods[0]]
    await yard.ends(pods[0])
    await yard.turn(2)
    assert yard.cluster.get("Deployment", yard.home(), NAMESPACE) is None
    assert yard.pods() == []
    assert await yard.backend.owned() == set()


async def test_a_deployment_of_a_pool_under_another_name_is_no_orphan(yard: Ground) -> None:
    await grown(yard, 1)
    stray = yard.deployment()
    del stray["status"]
    stray["metadata"] = {
        "name": "older-name",
        "namespace": NAMESPACE,
        "labels": stray["metadata"]["labels"],
        "annotations": stray["metadata"]["annotations"],
    }
    yard.cluster.create(stray)
    await yard.turn(4)
    assert [item["metadata"]["name"] for item in yard.cluster.objects("Deployment", NAMESPACE)] == [yard.home()]
    assert (await yard.fleet()).ready == 1


async def test_a_scale_that_somebody_changed_is_put_right(yard: Ground) -> None:
    await grown(yard, 3)
    yard.cluster.patch("Deployment", yard.home(), {"spec": {"replicas": 1}}, NAMESPACE)
    await yard.turn(2)
    assert len(yard.pod_names()) == yard.replicas() == 3
    yard.cluster.patch("Deployment", yard.home(), {"spec": {"replicas": 5}}, NAMESPACE)
    await yard.turn(4)
    assert len(yard.pod_names()) == yard.replicas() == 3


@pytest.mark.parametrize(
    ("image", "code", "words"),
    [
        (Image.never_starts("manifest unknown"), "image_pull_failed", "manifest unknown"),
        (Image.crash_loop(3, "KeyError: OPENAI_KEY"), "crash_loop", "exit code 3"),
        (Image.misconfigured("container has runAsNonRoot and image will run as root"), "config_error", "runAsNonRoot"),
        (Image.no_node("0/3 nodes are available: 3 Insufficient cpu."), "unschedulable", "Insufficient cpu"),
    ],
)
async def test_pods_that_do_not_start_are_a_condition_with_the_message(
    yard: Ground, image: Image, code: str, words: str
) -> None:
    yard.cluster.images["acme/agents:1"] = image
    await yard.wish(2)
    await yard.turn(3)
    found = await yard.conditions()
    assert set(found) == {code}
    assert words in found[code]
    scale = yard.replicas()
    await yard.turn(5)
    assert (yard.replicas(), len(yard.pod_names())) == (scale, 2)  # it does not flap
    assert await yard.conditions() == found
    del yard.cluster.images["acme/agents:1"]
    await yard.wish(2, image="acme/agents:2")
    await yard.turn(6)
    assert await yard.conditions() == {}
    assert (await yard.fleet()).ready == 2


async def test_a_missing_secret_of_the_pools_is_a_condition(yard: Ground) -> None:
    await yard.wish(1, env_from_secrets=["openai"])
    await yard.turn(2)
    assert 'secret "openai" not found' in (await yard.conditions())["config_error"]


async def test_more_than_the_clusters_quota_is_a_condition(yard: Ground) -> None:
    yard.cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": NAMESPACE},
            "spec": {"hard": {"pods": "2"}},
        }
    )
    await yard.wish(4)
    await yard.turn(3)
    assert "exceeded quota: small" in (await yard.conditions())["quota_exceeded"]
    assert (await yard.fleet()).ready == 2
    await yard.want(2)
    await yard.turn(3)
    assert len(yard.pod_names()) == yard.replicas() == 2
    assert set((await statuses(yard)).values()) == {"idle"}


async def test_a_stuck_rollout_is_a_condition(yard: Ground) -> None:
    await grown(yard, 1)
    yard.cluster.images["acme/agents:2"] = Image.never_ready()
    await yard.wish(1, image="acme/agents:2")
    await yard.turn(2)
    yard.cluster.exceed_deadline(yard.home(), NAMESPACE)
    await yard.turn(2)
    assert "rollout_stuck" in await yard.conditions()
    assert (await yard.fleet()).ready == 1


async def test_a_ready_pod_whose_agent_never_registers_is_a_condition(yard: Ground) -> None:
    await yard.wish(1)
    await yard.tick()
    await yard.cluster.reconcile()
    await yard.tick()
    assert await yard.conditions() == {}
    yard.clock.forward(UNREGISTERED_S + 1)
    await yard.tick()
    assert "YARD_SCALING_MANAGER_URL" in (await yard.conditions())["not_registered"]


async def test_a_change_of_the_cluster_asks_for_a_pass(yard: Ground) -> None:
    await grown(yard, 1)
    await yard.tick()
    asked: list[int] = []
    yard.backend.on_change = lambda: asked.append(1)
    yard.cluster.delete("Pod", yard.pod_names()[0], NAMESPACE)

    async def was_asked() -> bool:
        return bool(asked)

    await until_async(was_asked, "a pass is asked for")


async def test_a_watch_that_dies_all_the_time_changes_nothing_for_the_pools(yard: Ground) -> None:
    yard.cluster.faults.watch_events = 1
    pods = await grown(yard, 2)
    await yard.want(1)
    await yard.turn(4)
    assert len(yard.pod_names()) == yard.replicas() == 1
    assert set(yard.pod_names()) < set(pods)
    assert await yard.conditions() == {}
    lists = [item for item in yard.cluster.requests("list") if item.path.endswith(("/pods", "/deployments"))]
    assert len([item for item in lists if "agent-type" not in item.query["labelSelector"]]) == 2


async def test_an_api_that_is_away_from_the_start_is_a_condition_and_comes_back(yard: Ground) -> None:
    await grown(yard, 1)
    block = yard.cluster.faults.answer(500, times=None)
    yard.cluster.end_watches()

    async def failing() -> bool:
        return block.seen >= 2

    await until_async(failing, "the watches fail")
    await yard.view.refresh()
    with pytest.raises(Exception, match="500"):
        await yard.loop.tick()
    assert set(await yard.conditions()) == {"api_error"}
    assert set((await statuses(yard)).values()) == {"idle"}
    yard.cluster.faults.clear()

    async def ready() -> bool:
        try:
            await yard.loop.tick()
        except Exception:
            return False
        return await yard.conditions() == {}

    await until_async(ready, "all is well again")
    assert len(yard.pod_names()) == 1
