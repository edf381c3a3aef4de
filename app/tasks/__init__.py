"""Tasks: accepted durably, moved only by `queue.py`, never changed once final.

    submit ─▶ queued ─claim─▶ running ─▶ succeeded | failed
                ▲               │
                ├─ retry (backoff, counted) ─┤
                └─ returned (refusal, shutdown, rescue: not counted)
    queued | running ─▶ cancelled        queued ─▶ expired (not started by its deadline)        failed ─▶ queued (retry)

`attempt` counts the tries that say something about the task, and is what a retry limit is compared with. `fence`
rises with every claim, counted or not: a result is written only by the holder of the current fence.

Order within a pool: higher priority first; inside one priority tenants take turns (`tag`, start-time fair queueing:
Goyal, Vin & Cheng 1996, all weights 1); one tenant's tasks by age.
"""
