"""What keeps a Deployment's pods from working, in words. Pure: objects as the API has them → conditions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.scaling.backends.base import Condition

type Json = Mapping[str, Any]

IMAGE = ("ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
CRASHES = 2
"""So many restarts of a container that is not ready are a crash loop, also while it is just running once more."""
_STUCK = "ProgressDeadlineExceeded"
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: \w+)?(: )?')
MAX_MESSAGE = 1000


def of_deployment(deployment: Json) -> list[Condition]:
    """What the Deployment says of itself."""
    found = []
    for item in (deployment.get("status") or {}).get("conditions") or ():
        message = _cut(item.get("message") or item.get("reason") or "")
        if item["type"] == "ReplicaFailure" and item["status"] == "True":
            code = "quota_exceeded" if "exceeded quota" in message else "pods_refused"
            found.append(Condition(code, f"The cluster takes no more pods: {message}"))
        elif item["type"] == "Progressing" and item["status"] == "False" and item.get("reason") == _STUCK:
            found.append(
                Condition("rollout_stuck", f"The rollout does not get on, and fewer replicas wait for it: {message}")
            )
    return found


def of_pods(pods: Sequence[Json]) -> list[Condition]:
    """One condition a code: of the first pod by name, and how many have it. Pods that end count no more."""
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    by_code: dict[str, list[str]] = {}
    for pod in sorted(alive, key=lambda item: str(item["metadata"]["name"])):
        for code, message in dict(_troubles(pod)).items():
            by_code.setdefault(code, []).append(message)
    return [
        Condition(code, f"{len(messages)} of {len(alive)} pods: {messages[0]}")
        for code, messages in sorted(by_code.items())
    ]


def unregistered(names: Sequence[str], after_s: float) -> list[Condition]:
    """Pods that answer `/health` and still have no agent."""
    if not names:
        return []
    text = f"{names[0]} is ready for {after_s:g} s and has not registered: does it reach YARD_SCALING_MANAGER_URL?"
    return [Condition("not_registered", f"{len(names)} pods: {text}")]


def _troubles(pod: Json) -> Iterator[tuple[str, str]]:
    status = pod.get("status") or {}
    for item in status.get("conditions") or ():
        if item["type"] == "PodScheduled" and item["status"] == "False" and item.get("reason") == "Unschedulable":
            yield "unschedulable", f"No node takes it: {_cut(item.get('message') or '')}"
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, message = waiting.get("reason") or "", waiting.get("message") or ""
        if reason == "CrashLoopBackOff" or _crashes(container):
            yield "crash_loop", _crash(container)
        elif reason in IMAGE:
            yield "image_pull_failed", _image(container, reason, message)
        elif reason in CONFIG:
            yield "config_error", _cut(f"{reason}: {message or container['name']}")


def _containers(status: Json) -> Iterable[Json]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _crashes(container: Json) -> bool:
    last = (container.get("lastState") or {}).get("terminated") or {}
    again = (container.get("restartCount") or 0) >= CRASHES and not container.get("ready")
    return again and bool(last.get("exitCode"))


def _image(container: Json, reason: str, message: str) -> str:
    """The same words whether it has just failed or waits before it is tried again: Kubernetes goes to and fro."""
    why = _BACK_OFF.sub("", message) or reason
    return _cut(f"the image {container.get('image') or container['name']} cannot be pulled: {why}")


def _crash(container: Json) -> str:
    """How its last run ended: what Kubernetes says of the wait is only its length, which changes all the time."""
    last = (container.get("lastState") or {}).get("terminated") or {}
    how = f"container {container['name']} ends again and again"
    if last:
        reason = last.get("reason") or "Error"
        how += f", lastly with exit code {last.get('exitCode')} ({reason})"
    said = (last.get("message") or "").strip()
    return _cut(f"{how}: {said}" if said else f"{how}.")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 1]}…"
