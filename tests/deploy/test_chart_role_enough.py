"""The Role that the chart gives to the managers is enough for the backend's whole life, and each rule is needed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.db import Database
from app.scaling.backends.base import BackendError
from app.scaling.backends.kubernetes.upkeep import SECRET_EVERY_S
from tests.core.database import clock, db
from tests.deploy.chart_cases import URLS
from tests.deploy.cluster_jobs import jobs_of
from tests.deploy.release import Helm, Object, merged
from tests.fakes.kubernetes import FakeCluster
from tests.scaling.kubernetes.ground import NAMESPACE, Ground, ground

__all__ = ["clock", "db"]  # fixtures

TOKEN = "the-managers-account"
INSTANCE = "yards"
SECRET = f"{INSTANCE}-agent-key"
VALUES = merged(
    URLS,
    {"fullnameOverride": INSTANCE, "agents": {"namespace": NAMESPACE}, "disruptionBudget": {"enabled": False}},
)
RULES = 7


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    """With the chart installed; TOKEN is the managers' ServiceAccount and has what the RoleBindings there give it."""
    with FakeCluster(namespaces=("yard", NAMESPACE), groups=("keda",)) as running, jobs_of(running) as _:
        release = Helm(running.kubeconfig(tmp_path / "helm")).install("yard", VALUES)
        account = release.one("Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        running.act_as(TOKEN, account, "yard")
        yield running


def rules(cluster: FakeCluster) -> list[Object]:
    role = cluster.get("Role", INSTANCE, NAMESPACE)
    assert role is not None
    found: list[Object] = role["rules"]
    return found


def named(rule: Object) -> set[tuple[str, str]]:
    """(verb, resource) of a rule."""
    return {(verb, resource) for verb in rule["verbs"] for resource in rule["resources"]}


def asked(cluster: FakeCluster) -> set[tuple[str, str]]:
    """(verb, resource with its subresource) of what the managers' account asked for in the agents' namespace."""
    found = set()
    for entry in cluster.requests():
        _, inside, rest = entry.path.partition(f"/namespaces/{NAMESPACE}/")
        if inside and entry.user_agent == "yardmaster":
            resource, _, name = rest.partition("/")
            part = name.partition("/")[2]
            found.add((entry.verb, f"{resource}/{part}" if part else resource))
    return found


async def live_through(yard: Ground) -> None:
    """Create, grow, shrink with work under way, repair, roll out, keep the Secret, delete."""
    await yard.wish(1)
    await yard.turn(2)
    await yard.want(3)
    await yard.turn(2)
    busy = yard.pod_names()[0]
    await yard.busy(busy)
    await yard.want(1)
    await yard.turn(4)
    assert yard.pod_names() == [busy]
    labels = {"metadata": {"labels": {"agent-type": "tampered"}}}
    yard.cluster.patch("Deployment", yard.home(), labels, NAMESPACE)
    await yard.turn()
    assert yard.deployment()["metadata"]["labels"]["agent-type"] == "p"
    yard.cluster.delete("Secret", SECRET, NAMESPACE)
    yard.clock.forward(SECRET_EVERY_S + 1)
    await yard.turn()
    assert yard.cluster.get("Secret", SECRET, NAMESPACE) is not None
    assert await yard.conditions() == {}
    await yard.ends(busy)
    await yard.sql("DELETE FROM pools")
    yard.view = type(yard.view)(yard.db)
    await retire(yard)


async def retire(yard: Ground) -> None:
    """The pool's row is gone: passes of the backend alone, as the loop makes them."""
    for _ in range(3):
        await yard.caught_up()
        for name in await yard.backend.owned():
            await yard.backend.converge(name, None)
        await yard.cluster.reconcile()
    assert yard.cluster.objects("Deployment", NAMESPACE) == yard.pods() == []


async def test_it_is_enough_for_a_whole_life(cluster: FakeCluster, db: Database, tmp_path: Path) -> None:
    cluster.forget_requests()
    async with ground(db, cluster, tmp_path, token=TOKEN, instance=INSTANCE) as yard:
        await live_through(yard)
    assert [one.path for one in cluster.requests() if one.status in (401, 403)] == []
    granted = set().union(*map(named, rules(cluster)))
    assert asked(cluster) <= granted
    # The API asks for `create` as well where a patch makes an object.
    assert granted - asked(cluster) == {("create", "deployments"), ("create", "secrets")}


def test_the_number_of_rules(cluster: FakeCluster) -> None:
    assert len(rules(cluster)) == RULES


@pytest.mark.parametrize("number", range(RULES))
async def test_without_one_of_its_rules_the_pool_says_what_is_forbidden(
    cluster: FakeCluster, db: Database, tmp_path: Path, number: int
) -> None:
    all_rules = rules(cluster)
    cluster.patch("Role", INSTANCE, {"rules": all_rules[:number] + all_rules[number + 1 :]}, NAMESPACE)
    resource = all_rules[number]["resources"][0]
    async with ground(db, cluster, tmp_path, token=TOKEN, instance=INSTANCE) as yard:
        await yard.wish(1)
        if resource in ("deployments", "pods"):  # nothing can be seen, so nothing is done
            await yard.view.refresh()
            with pytest.raises(BackendError, match=resource):
                await yard.loop.tick()
        else:
            await yard.turn(2)
            await yard.want(2)
            await yard.turn(2)
        found = await yard.conditions()
    # A pool without its Secret may go on, and then its pods say themselves what they miss.
    assert set(found) - {"config_error"} == {"forbidden"}
    assert resource in found["forbidden"]
