"""A small, honest Kubernetes API server for tests (1.36's semantics), driven over HTTP by real clients.

    async with FakeCluster(groups=("keda",)) as cluster:      # or `with`, for blocking clients
        config = cluster.kubeconfig(tmp_path / "config")      # or connect to `cluster.url`
        ...                                                   # the code under test
        cluster.objects("Deployment"), cluster.get("Pod", "x", "ns"), cluster.requests("patch", "/apis/apps")
        cluster.create({...}), cluster.patch("Deployment", "x", {...}), cluster.delete("Pod", "x")
        cluster.faults.answer(429, verb="list", path="/apis/apps", times=2, retry_after_s=3)
        cluster.faults.hang(verb="watch"), cluster.faults.watch_life_s = 1.0
        cluster.compact(); cluster.expire_by("status"); cluster.bookmark(); cluster.end_watches()
        cluster.allow(role); cluster.require_token("t"); cluster.act_as("t", "account", "ns")

It runs on a thread and event loop of its own. What controllers, scheduler and kubelets do happens only in passes:

        await cluster.reconcile()       # passes until nothing changes; `step()` is one; `run()` goes on by itself
        cluster.images["bad:*"] = Image.never_starts()        # crash_loop(137), no_node(), starts_slowly(3), …
        cluster.exceed_deadline("web")                        # → ProgressDeadlineExceeded
        FakeCluster(kubelet=MyKubelet())                      # a `Kubelet` that starts something real for each pod

Optional groups: `keda`, `istio`, `prometheus`; more kinds by creating a CustomResourceDefinition.
"""

from tests.fakes.kubernetes.cluster import FakeCluster
from tests.fakes.kubernetes.controllers.images import Image
from tests.fakes.kubernetes.controllers.kubelet import Kubelet, PodReport
from tests.fakes.kubernetes.errors import ApiError

__all__ = ["ApiError", "FakeCluster", "Image", "Kubelet", "PodReport"]
