"""Fleets: how many replicas a pool needs, and keeping that many.

    tables ─queries─▶ counts ─demand─▶ Demand ─decide─▶ Decision ─autoscale─▶ pools.desired
    pools.desired ─loop─▶ backend (processes, kubernetes) ─▶ replicas ─▶ agents

`autoscale` measures every pool, decides (`decide` and the pure rules beside it) and writes the state, the size and the
decision in one transaction. `loop` has a backend bring each pool to its size: that one drains before it ends anything
(`converge` for processes), and `eviction` gives back what outlasts its grace. Neither knows of the other: they meet in
`pools.desired`, which people may set, too.

Invariants:
- Nothing is scaled down on numbers that are missing, old or impossible.
- A size that was changed since it was judged is not overwritten (`registry.sizes.resize`), and of two leaders one
  writes (`pool_scaling.version`).
- What runs is never ended before its pool's grace is over, and then it is returned uncounted.
"""
