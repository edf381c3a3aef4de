"""Balancers: the strategies that place a task on one of the agents offered.

    round_robin           each agent in turn
    weighted_round_robin  in turn, in proportion to the operator's weight, evenly interleaved
    least_connections     the agent with the smallest share of its slots in use
    p2c                   the less loaded of two drawn at random
    prequal               the quickest of those not busier than usual
    weighted_score        a weighted sum of success, response time, free slots, skill and weight
    ai_optimized          the least expected cost, learned per task type, agent version and agent

`base` fixes the seam and the rules, `registry` maps names to factories (entry points in the group
"yardmaster.balancers" add strategies from outside the tree), `offer` holds a pool's free agents so that a few can be
drawn at a constant cost, and `guarded` wraps a strategy so that a bad one costs a fallback, never a task. Invariants
every member keeps, checked by one contract suite:

- it names only agents that were offered, and with the same `random.Random` and the same calls it names the
  same ones;
- it may keep a task waiting, but not for ever: a task that waited long enough is placed on whatever is offered;
- a choice reads a bounded number of agents however many are offered, and changes none;
- time that stands still, jumps ahead or steps back costs worse choices at most;
- it learns of an agent by `joined` or an offer and forgets it when it left; the late `finished` of an
  attempt on such an agent does not bring it back, so memory is bounded by the pool;
- a call it did not expect (`finished` without `started` after a restart, `left` of a stranger) changes
  nothing.

A strategy subclasses `passive.Passive` and overrides the calls it learns from.
"""
