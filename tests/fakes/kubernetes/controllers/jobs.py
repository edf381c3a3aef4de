"""Jobs: pods until enough of them succeeded or too many failed."""

from __future__ import annotations

from typing import Any

from tests.fakes.kubernetes.controllers.world import World, pod_of, with_condition
from tests.fakes.kubernetes.errors import ApiError
from tests.fakes.kubernetes.store import Body


class Jobs:
    def run(self, world: World) -> None:
        for body in world.all("Job"):
            if not body["metadata"].get("deletionTimestamp") and not _finished(body):
                self._sync(world, body)

    def _sync(self, world: World, body: Body) -> None:
        spec, pods = body["spec"], world.owned("Pod", body)
        done = [pod for pod in pods if pod["status"]["phase"] == "Succeeded"]
        failed = [pod for pod in pods if pod["status"]["phase"] == "Failed"]
        active = [pod for pod in pods if pod not in done and pod not in failed]
        wanted = spec.get("completions", 1)
        if len(done) >= wanted:
            self._end(world, body, len(done), len(failed))
        elif len(failed) > spec["backoffLimit"]:
            self._fail(world, body, active, len(done), len(failed))
        else:
            self._go_on(world, body, active, len(done), len(failed))

    def _go_on(self, world: World, body: Body, active: list[Body], done: int, failed: int) -> None:
        spec = body["spec"]
        room = min(spec["parallelism"], spec.get("completions", 1) - done) - len(active)
        for _ in range(0 if spec.get("suspend") else max(0, room)):
            try:
                name = f"{body['metadata']['name']}-"
                active.append(world.create("Pod", body["metadata"]["namespace"], pod_of(body, generateName=name)))
            except ApiError:
                break
        counts = {"active": len(active) or None, "succeeded": done or None, "failed": failed or None}
        world.set_status(body, self._status(world, body) | counts)

    def _status(self, world: World, body: Body) -> dict[str, Any]:
        begun = (body.get("status") or {}).get("startTime") or world.now()
        return {"startTime": begun, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}

    def _end(self, world: World, body: Body, done: int, failed: int) -> None:
        now = world.now()
        words = "CompletionsReached", "Reached expected number of succeeded pods"
        conditions = with_condition([], "SuccessCriteriaMet", "True", *words, now)
        conditions = with_condition(conditions, "Complete", "True", *words, now)
        status = self._status(world, body) | {"completionTime": now, "conditions": conditions}
        world.set_status(body, status | {"succeeded": done, "failed": failed or None})

    def _fail(self, world: World, body: Body, active: list[Body], done: int, failed: int) -> None:
        for pod in active:
            world.delete(pod)
        words = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        conditions = with_condition([], "FailureTarget", "True", *words, world.now())
        conditions = with_condition(conditions, "Failed", "True", *words, world.now())
        status = self._status(world, body) | {"conditions": conditions, "succeeded": done or None}
        world.set_status(body, status | {"failed": failed})


def _finished(body: Body) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
