"""What `ai_optimized` is made of: one idea a file, all of it plain values without clock, settings or I/O.

costs      seconds and failure rate of a task type on a class of agents, from sparse observations
record     how much slower than its class an agent is, and how much more often it fails
breaker    when to leave an agent alone, and when to try it again
ejection   the same for a pool: never more than a share of it
queueing   which task types wait for a better agent
threads    which agent served a conversation last
journal    the last choices, for people
exchange   what managers tell each other, written and read
"""
