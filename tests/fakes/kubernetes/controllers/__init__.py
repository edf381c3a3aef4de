"""What a cluster's controllers, scheduler and kubelets do, one pass at a time.

    Deployment → ReplicaSet → Pod → (scheduler) → (kubelet) → status back up

Each controller is a class with `run(world)`: one level-based pass over all its objects, under the store's lock.
Only the kubelet's pass is asynchronous, because it calls the test's hook. `Images` says how containers behave.
"""
