"""What Kubernetes says of pods and Deployments, as conditions of the pool."""

from __future__ import annotations

from typing import Any

import pytest

from app.scaling.backends.kubernetes import conditions


def pod(name: str = "p-1", *, ending: bool = False, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if ending else {})}
    return {"metadata": metadata, "status": status}


def container(**state: Any) -> dict[str, Any]:
    return {"name": "agent", "image": "acme/agents:typo", "restartCount": 0, "ready": False, **state}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return container(state={"waiting": {"reason": reason, "message": message}})


CRASHED = {"terminated": {"exitCode": 3, "reason": "Error", "message": "KeyError:\n 'OPENAI_KEY'"}}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("ImagePullBackOff", "image_pull_failed"),
        ("ErrImagePull", "image_pull_failed"),
        ("InvalidImageName", "image_pull_failed"),
        ("CrashLoopBackOff", "crash_loop"),
        ("CreateContainerConfigError", "config_error"),
        ("CreateContainerError", "config_error"),
    ],
)
def test_a_container_that_waits(reason: str, code: str) -> None:
    (found,) = conditions.of_pods([pod(containerStatuses=[waiting(reason, "because")])])
    assert found.code == code
    assert found.message.startswith("1 of 1 pods: ")


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_container_that_is_just_being_made_is_no_trouble(reason: str) -> None:
    assert conditions.of_pods([pod(containerStatuses=[waiting(reason)])]) == []


def test_a_failed_pull_reads_the_same_while_it_is_tried_and_while_it_waits() -> None:
    why = "rpc error: code = NotFound desc = acme/agents:typo: not found"
    tried = waiting("ErrImagePull", why)
    waits = waiting("ImagePullBackOff", f'Back-off pulling image "acme/agents:typo": ErrImagePull: {why}')
    first, second = (conditions.of_pods([pod(containerStatuses=[item])]) for item in (tried, waits))
    assert first == second
    assert first[0].message == f"1 of 1 pods: the image acme/agents:typo cannot be pulled: {why}"


def test_a_crash_loop_tells_how_it_ended_last() -> None:
    item = {**waiting("CrashLoopBackOff", "back-off 2m40s restarting"), "lastState": CRASHED, "restartCount": 5}
    (found,) = conditions.of_pods([pod(containerStatuses=[item])])
    assert found.message == (
        "1 of 1 pods: container agent ends again and again, lastly with exit code 3 (Error): KeyError: 'OPENAI_KEY'"
    )


def test_a_crash_loop_stays_one_while_the_container_runs_once_more() -> None:
    running = container(state={"running": {}}, lastState=CRASHED, restartCount=2)
    assert [item.code for item in conditions.of_pods([pod(containerStatuses=[running])])] == ["crash_loop"]
    assert conditions.of_pods([pod(containerStatuses=[{**running, "restartCount": 1}])]) == []
    assert conditions.of_pods([pod(containerStatuses=[{**running, "ready": True}])]) == []


def test_a_pod_that_no_node_takes() -> None:
    said = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes: Insufficient cpu",
    }
    (found,) = conditions.of_pods([pod(phase="Pending", conditions=[said])])
    assert (found.code, found.message) == (
        "unschedulable",
        "1 of 1 pods: No node takes it: 0/3 nodes: Insufficient cpu",
    )


def test_many_pods_make_one_condition_of_a_code_and_those_that_end_none() -> None:
    sick = [waiting("ErrImagePull", "no")]
    found = conditions.of_pods(
        [
            pod("b", containerStatuses=sick),
            pod("a", containerStatuses=sick),
            pod("c", ending=True, containerStatuses=sick),
        ]
    )
    assert [(item.code, item.message.split(":")[0]) for item in found] == [("image_pull_failed", "2 of 2 pods")]


def deployment(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    item = {"type": kind, "status": status, "reason": reason, "message": message}
    return {"status": {"conditions": [item]}}


@pytest.mark.parametrize(
    ("live", "code"),
    [
        (
            deployment("ReplicaFailure", "True", "FailedCreate", 'pods "x" is forbidden: exceeded quota: q'),
            "quota_exceeded",
        ),
        (deployment("ReplicaFailure", "True", "FailedCreate", "violates PodSecurity"), "pods_refused"),
        (deployment("Progressing", "False", "ProgressDeadlineExceeded", "has timed out"), "rollout_stuck"),
    ],
)
def test_what_a_deployment_says(live: dict[str, Any], code: str) -> None:
    assert [item.code for item in conditions.of_deployment(live)] == [code]


@pytest.mark.parametrize(
    "live",
    [
        {},
        {"status": {}},
        deployment("Progressing", "True", "NewReplicaSetAvailable", ""),
        deployment("ReplicaFailure", "False", "", ""),
        deployment("Available", "False", "MinimumReplicasUnavailable", ""),
    ],
)
def test_a_deployment_that_is_well_or_on_its_way_says_nothing(live: dict[str, Any]) -> None:
    assert conditions.of_deployment(live) == []


def test_messages_are_bounded() -> None:
    (found,) = conditions.of_pods([pod(containerStatuses=[waiting("ErrImagePull", "x" * 5000)])])
    assert len(found.message) < 1100
