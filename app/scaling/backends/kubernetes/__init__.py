"""Pools as Deployments of a Kubernetes cluster.

    a pool ──manifest──▶ Deployment, Secret ──server-side apply──▶ Kubernetes ──list, watch──▶ mirrors
       desired, agents, running tasks ──▶ choice (pure): who leaves, who is drained, what scale ──▶ moves

`names`, `manifest`, `drift`, `pods`, `choice`, `conditions` are pure. `credentials`, `client` and `faults` speak to the
API, `watch` and `mirrors` keep a copy of what it has, `roster` knows the agents in the pods, `upkeep` applies what
drifted, `fights` says how often, `foreign` looks for others who scale, `moves` carries a plan out, and `backend` is the
pass.

Invariants:
- What is not labelled as ours (`manifest.instance_labels`) is never written, and what is ours and wanted by no pool is
  drained and deleted.
- Every write of a Deployment is conditional on the version that it was judged from. A conflict is no error: the next
  pass looks again. So two managers who both believe to lead do the same as one.
- All state is in the tables and on the objects: a pod that leaves carries `yardmaster/leaving-since`.
- The scale is lowered only by pods that run nothing, which carry a deletion cost of −1000, as a watch has told, and are
  the first that their ReplicaSet takes. While a rollout is under way it is not lowered (but to zero).
- Nothing is taken away because the mirrors do not have it: that is asked for, as a watch may be dumb without a word.
- A change that is refused keeps nobody from scaling and draining what is there.
- A pod that Kubernetes itself ends (a rollout, a drained node, `kubectl delete`) has the pool's grace to finish. What
  it then still runs is returned to the queue, uncounted, before it is killed: `terminationGracePeriodSeconds` is the
  grace and `manifest.KILL_MARGIN_S`.

Rights needed, in a Role of the agents' namespace:

| group | resource | verbs |
|---|---|---|
| apps | deployments | get, list, watch, create, patch, delete |
| apps | deployments/scale | patch |
| (core) | pods | list, watch, patch |
| autoscaling | horizontalpodautoscalers | list |
| keda.sh | scaledobjects | list |
| (core) | secrets | patch (that of `names.secret_name` only), create |

The last line only where `YARD_KUBERNETES_AGENT_SECRET` is empty. Secrets are never read, pods never deleted.
"""

from __future__ import annotations

from app.scaling.backends.kubernetes.backend import KubernetesBackend

__all__ = ["KubernetesBackend"]
