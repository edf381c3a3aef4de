"""The simulator: what each autoscaler would do to a pool, before it does it to a real one.

    traces ───┐
    recorded ─┴▶ World ──▶ engine (events, virtual clock) ──▶ Tally ──▶ measures ──▶ verdicts ──▶ table, JSON, figure
                             │  replicas   starting, ready, draining; the queue in order of arrival
                             │  lens       what an autoscaler gets to see: noisy, late, or nothing
                             └▶ ours       the product's own `demand` and `decide`
                                baselines  HPA, KPA and KEDA by their documented formulas

Our policies are the product's own functions, fed as the loop feeds them; simulated is what is around them: arrivals,
the queue, replicas that take a while to start and that finish what they run before they leave.

Pure and deterministic: the same world, policy and seed give the same events, and all policies meet the same tasks, the
same cold starts and the same gaps in the metrics, with the same bounds. Times are seconds of a virtual clock that
starts at 0; `World.begins_at` says when that was. Every task that arrived finishes exactly once.
"""
