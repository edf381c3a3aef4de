"""What ends Jobs in a fake cluster, where no kubelet runs them: Helm waits for its hooks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.deploy.release import Object
from tests.fakes.kubernetes import ApiError, FakeCluster

LOOK_S = 0.02
WHEN = "2026-01-01T00:00:00Z"


@dataclass
class Jobs:
    """Whether Jobs succeed, and those that were run, as they were then."""

    succeed: bool = True
    ran: list[Object] = field(default_factory=list)


@contextmanager
def jobs_of(cluster: FakeCluster) -> Iterator[Jobs]:
    jobs, stop = Jobs(), threading.Event()
    thread = threading.Thread(target=_run, args=(cluster, jobs, stop), name="jobs")
    thread.start()
    try:
        yield jobs
    finally:
        stop.set()
        thread.join()


def _run(cluster: FakeCluster, jobs: Jobs, stop: threading.Event) -> None:
    while not stop.wait(LOOK_S):
        for job in cluster.objects("Job"):
            if not (job.get("status") or {}).get("conditions"):
                _end(cluster, jobs, job)


def _end(cluster: FakeCluster, jobs: Jobs, job: Object) -> None:
    meta = job["metadata"]
    named = "Complete" if jobs.succeed else "Failed"
    condition = {"type": named, "status": "True", "lastTransitionTime": WHEN, "lastProbeTime": WHEN}
    status = {"succeeded" if jobs.succeed else "failed": 1, "startTime": WHEN, "conditions": [condition]}
    try:
        cluster.patch("Job", meta["name"], {"status": status}, meta["namespace"], status=True)
    except ApiError:  # deleted meanwhile
        return
    jobs.ran.append(job)
