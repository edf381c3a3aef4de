"""What keeps a Deployment from being as it should keeps nobody from scaling and draining it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core.db import Database
from app.scaling.backends.kubernetes import fights, foreign
from app.scaling.backends.kubernetes.fights import Fights
from app.scaling.backends.kubernetes.upkeep import FAILED_S, REFUSED_S, SECRET_EVERY_S
from tests.core.database import HandClock
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import NAMESPACE, Ground, ground
from tests.scaling.kubernetes.test_fleet import grown
from tests.scaling.kubernetes.test_upkeep import DEPLOYMENTS, hpa, writes

SECRETS = "/api/v1/namespaces/agents/secrets"
HPAS = "/apis/autoscaling/v2"


class Refusing:
    """Applies of the pool's Deployment are refused; its scale may be set."""

    def __init__(self, yard: Ground, status: int) -> None:
        self._yard, self._status = yard, status

    async def tick(self) -> None:
        api = self._yard.backend._api
        apply = api.apply
        fault = self._yard.cluster.faults.answer(
            self._status, verb="patch", path=DEPLOYMENTS, times=0, message='admission webhook "policy" denied it'
        )

        async def refused(resource: str, manifest: dict[str, object]) -> dict[str, object]:
            fault.left = 1
            return await apply(resource, manifest)

        api.apply = refused  # type: ignore[method-assign]
        await self._yard.tick()
        api.apply = apply  # type: ignore[method-assign]
        self._yard.cluster.faults.remove(fault)


@pytest.mark.parametrize(("status", "code", "pause_s"), [(403, "forbidden", REFUSED_S), (500, "api_error", FAILED_S)])
async def test_a_change_that_a_webhook_refuses_does_not_keep_the_pool_from_shrinking(
    yard: Ground, status: int, code: str, pause_s: float
) -> None:
    await grown(yard, 2)
    await yard.wish(1, image="acme/agents:2")
    await Refusing(yard, status).tick()
    found = await yard.conditions()
    assert set(found) == {code}
    assert "admission webhook" in found[code]
    yard.cluster.forget_requests()
    await yard.turn(3)
    assert len(yard.pod_names()) == yard.replicas() == 1
    assert not [item for item in yard.cluster.requests("patch", DEPLOYMENTS) if "scale" not in item.path]
    assert set(await yard.conditions()) == {code}
    yard.clock.forward(pause_s)
    await yard.turn(3)
    assert await yard.conditions() == {}
    assert yard.deployment()["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/agents:2"


async def test_a_secret_that_is_refused_keeps_nobody_from_scaling(yard: Ground) -> None:
    await grown(yard, 1)
    yard.cluster.faults.answer(403, verb="patch", path=SECRETS, times=1)
    yard.clock.forward(SECRET_EVERY_S)
    await yard.want(2)
    await yard.tick()
    assert yard.replicas() == 2
    assert set(await yard.conditions()) == {"forbidden"}
    yard.clock.forward(FAILED_S)
    await yard.tick()
    assert await yard.conditions() == {}


async def test_autoscalers_that_cannot_be_listed_stay_as_they_were(yard: Ground) -> None:
    await grown(yard, 1)
    yard.cluster.faults.answer(503, verb="list", path=HPAS)
    yard.clock.forward(foreign.EVERY_S)
    await yard.want(2)
    await yard.tick()
    assert yard.replicas() == 2
    assert set(await yard.conditions()) == {"api_unreachable"}
    yard.cluster.create(hpa(yard.home()))
    yard.clock.forward(foreign.EVERY_S)
    await yard.tick()
    yard.cluster.faults.answer(503, verb="list", path=HPAS)
    yard.clock.forward(foreign.EVERY_S)
    await yard.want(3)
    await yard.tick()
    assert yard.replicas() == 2
    assert set(await yard.conditions()) == {"api_unreachable", "foreign_autoscaler"}


async def test_a_deployment_that_somebody_paused_goes_on(yard: Ground) -> None:
    await grown(yard, 1)
    yard.cluster.patch("Deployment", yard.home(), {"spec": {"paused": True}}, NAMESPACE)
    await yard.tick()
    assert not yard.deployment()["spec"].get("paused")
    yard.cluster.forget_requests()
    await yard.tick()
    assert writes(yard) == []


async def test_somebody_who_reverts_all_the_time_is_named_and_not_fought_all_the_time(yard: Ground) -> None:
    await grown(yard, 1)
    yard.cluster.forget_requests()
    for _ in range(12):
        yard.cluster.patch("Deployment", yard.home(), {"spec": {"revisionHistoryLimit": 7}}, NAMESPACE)
        await yard.tick()
        yard.clock.forward(1.0)
    assert len(writes(yard)) <= 5
    assert set(await yard.conditions()) == {"drift_fought"}
    await yard.want(2)
    await yard.tick()
    assert yard.replicas() == 2
    yard.clock.forward(fights.LONGEST_S)
    await yard.tick()
    assert yard.deployment()["spec"]["revisionHistoryLimit"] == 3
    yard.clock.forward(fights.CALM_S)
    await yard.tick()
    assert await yard.conditions() == {}


def test_repairs_are_made_after_1_2_4_and_at_last_60_seconds(clock: HandClock) -> None:
    fought, at = Fights(clock), 0.0
    waited: list[float] = []
    fought.applied("a", "x")
    while len(waited) < 9:
        if fought.may_repair("a", "x"):
            fought.applied("a", "x")
            waited.append(at)
            at = 0.0
        clock.forward(1.0)
        at += 1.0
    assert waited == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert fought.may_repair("a", "another launch")
    assert fought.may_repair("b", "x")


async def test_a_launch_that_names_a_secret_which_is_not_allowed_is_not_applied(
    db: Database, cluster: FakeCluster, tmp_path: Path
) -> None:
    async with ground(db, cluster, tmp_path, allowed_secrets=["openai"]) as yard:
        await yard.wish(1, env_from_secrets=["yardmaster"])
        await yard.tick()
        assert cluster.get("Deployment", yard.home(), NAMESPACE) is None
        assert "'yardmaster'" in (await yard.conditions())["secret_not_allowed"]
        await yard.wish(1, env_from_secrets=["openai"])
        await yard.tick()
        assert (yard.replicas(), await yard.conditions()) == (1, {})
