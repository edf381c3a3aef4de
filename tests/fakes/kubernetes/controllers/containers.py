"""A pod's status from its containers' behaviour: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.fakes.kubernetes.controllers.images import Image
from tests.fakes.kubernetes.controllers.world import with_condition
from tests.fakes.kubernetes.store import Body

if TYPE_CHECKING:
    from tests.fakes.kubernetes.controllers.kubelet import PodReport


@dataclass(frozen=True)
class Place:
    """What a pod finds on its node: behaviours by image, what is `missing` (words), addresses."""

    images: dict[str, Image]
    missing: str
    ip: str
    host: str

    def starts(self, pod: Body) -> bool:
        """Whether the test's hook runs it: a service whose containers can be started."""
        if pod["spec"]["restartPolicy"] != "Always" or self.missing:
            return False
        return not any(one.pull_error or one.config_error or one.crash_code is not None for one in self.images.values())


def status_of(pod: Body, place: Place, report: PodReport | None, age: int, now: str) -> dict[str, Any]:
    """The status after this pass; `age` is the number of passes since the pod has its node."""
    before = pod["status"]
    old = {one["name"]: one for one in before.get("containerStatuses") or []}
    containers = [
        _container(pod, spec, place, report, age, old.get(spec["name"]) or {}, now)
        for spec in pod["spec"]["containers"]
    ]
    phase = _phase(pod, containers)
    ready = phase == "Running" and all(one["ready"] for one in containers)
    status = {key: value for key, value in before.items() if key not in ("containerStatuses", "conditions", "phase")}
    status |= {"phase": phase, "hostIP": place.host, "hostIPs": [{"ip": place.host}]}
    status |= {"startTime": before.get("startTime", now), "containerStatuses": containers}
    ip = (report.ip if report else "") or before.get("podIP") or place.ip
    status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    status["conditions"] = _conditions(before.get("conditions") or [], containers, phase, ready=ready, now=now)
    return status


def _conditions(
    conditions: list[dict[str, Any]], containers: list[dict[str, Any]], phase: str, *, ready: bool, now: str
) -> list[dict[str, Any]]:
    reason, message = "", ""
    if phase == "Succeeded":
        reason = "PodCompleted"
    elif not ready:
        names = " ".join(one["name"] for one in containers if not one["ready"])
        reason, message = "ContainersNotReady", f"containers with unready status: [{names}]"
    for name in ("PodReadyToStartContainers", "Initialized"):
        conditions = with_condition(conditions, name, "True", "", "", now)
    for name in ("Ready", "ContainersReady"):
        conditions = with_condition(conditions, name, "True" if ready else "False", reason, message, now)
    return conditions


def _phase(pod: Body, containers: list[dict[str, Any]]) -> str:
    ends = [one["state"]["terminated"]["exitCode"] for one in containers if "terminated" in one["state"]]
    policy = pod["spec"]["restartPolicy"]
    if policy != "Always" and len(ends) == len(containers):
        # OnFailure is told as a failed pod too: the Job counts it against its limit either way.
        return "Failed" if any(ends) else "Succeeded"
    began = {"running", "terminated"}
    started = any(one["restartCount"] or began & set(one["state"]) for one in containers)
    return "Running" if started else "Pending"


def _container(
    pod: Body, spec: Body, place: Place, report: PodReport | None, age: int, old: Body, now: str
) -> dict[str, Any]:
    image = place.images[spec["image"]]
    base: dict[str, Any] = {"name": spec["name"], "image": spec["image"], "imageID": "", "lastState": {}}
    base |= {"restartCount": old.get("restartCount", 0), "ready": False, "started": False}
    if old.get("lastState"):
        base["lastState"] = old["lastState"]
    if image.pull_error:
        return base | {"state": {"waiting": _pull(image, spec, old)}}
    base["imageID"] = f"{spec['image']}@sha256:{'0' * 64}"
    if words := image.config_error or place.missing:
        return base | {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": words}}}
    if image.crash_code is not None or (report is not None and report.exit_code is not None):
        return base | _crashed(pod, spec, image, report, old, now)
    if pod["spec"]["restartPolicy"] != "Always" and not image.unready and age >= image.slow:
        return base | {"state": {"terminated": _terminated(image.exit_code, "", now)}}
    began = (old.get("state") or {}).get("running") or {"startedAt": now}
    up = not image.unready and age >= image.slow and (report is None or report.ready)
    return base | {"state": {"running": began}, "started": up or bool(old.get("started")), "ready": up}


def _pull(image: Image, spec: Body, old: Body) -> dict[str, str]:
    name = spec["image"]
    failed = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {image.pull_error}'
    if "waiting" not in (old.get("state") or {}):
        return {"reason": "ErrImagePull", "message": failed}
    return {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{name}": ErrImagePull: {failed}'}


def _terminated(code: int, message: str, now: str) -> dict[str, Any]:
    reason = "Completed" if code == 0 else "OOMKilled" if code == 137 else "Error"
    ended: dict[str, Any] = {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}
    return ended | ({"message": message} if message else {})


def _crashed(pod: Body, spec: Body, image: Image, report: PodReport | None, old: Body, now: str) -> dict[str, Any]:
    """Ended, then waiting in back-off, one restart a pass until the image has had enough."""
    code = report.exit_code if report is not None and report.exit_code is not None else image.crash_code
    words = report.message if report is not None else image.crash_message
    state, count = old.get("state") or {}, old.get("restartCount", 0)
    if pod["spec"]["restartPolicy"] != "Always" or ("waiting" not in state and "terminated" not in state):
        return {"state": {"terminated": state.get("terminated") or _terminated(code or 0, words, now)}}
    last = state.get("terminated") or (old.get("lastState") or {}).get("terminated")
    last = last or _terminated(code or 0, words, now)
    meta = pod["metadata"]
    name = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    text = f"back-off 40s restarting failed container={spec['name']} pod={name}"
    return {
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": text}},
        "lastState": {"terminated": last},
        "restartCount": min(count + 1, max(image.restarts, 1)),
    }
