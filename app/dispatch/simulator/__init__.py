"""The simulator: what each strategy would do to a pool, before it does it to a real one.

    scenarios ─┐
    trace ─▶ recorded ─▶ World ──▶ engine (events, virtual clock) ──▶ Tally ──▶ measures ──▶ table, JSON, figure
                           │          waiting    the pool's queue
                           │          managers   slots with one owner, offers, the real strategy
                           └────────▶ working    how an agent gets its attempts done

The strategies are the real classes, behind the real seam (`balancers.base`), guarded and with outliers handled as the
dispatch loop does it; what is simulated is everything around them: arrivals, the queue, slots, agents that are slow,
fail, hang or come and go, and retries by the product's own policy. A strategy never sees the `World`, only offers and
outcomes.

Pure and deterministic: the same world, strategy and seed give the same events, and all strategies meet the same tasks
and the same faults at the same moments. Times are seconds of a virtual clock that starts at 0. Every task that arrived
ends exactly once: succeeded, failed, or unfinished when the simulation was given up.
"""
