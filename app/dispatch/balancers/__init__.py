"""Balancers: the strategies that place a task on one of the agents offered.

    round_robin           each agent in turn
    weighted_round_robin  in turn, in proportion to the operator's weight, evenly interleaved
    least_connections     the agent with the smallest share of its slots in use
    ai_optimized          a weighted score of what each agent has shown so far

`base` fixes the seam and the rules, `registry` maps names to factories (entry points in the group
"yardmaster.balancers" add strategies from outside the tree), and `guarded` wraps a strategy so that a bad one
costs a fallback, never a task. Invariants every member keeps, checked by one contract suite:

- it names only agents that were offered, and with the same `random.Random` and the same calls it names the
  same ones;
- it learns of an agent by `joined` or an offer and forgets it when it left; the late `finished` of an
  attempt on such an agent does not bring it back, so memory is bounded by the pool;
- a call it did not expect (`finished` without `started` after a restart, `left` of a stranger) changes
  nothing.

A strategy subclasses `passive.Passive` and overrides the calls it learns from.
"""
