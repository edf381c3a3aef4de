"""Limits that an operator sets: requests a second, tasks at once under a concurrency key, a tenant's share.

A limit is of a `tenant`, a `key` (an API key) or a `pool`. Rates are kept by GCRA in Redis, and by a bucket of our own
in each manager while Redis is away. Concurrency and weight are read by the statements of `tasks`.

Restraints hold pools back for a while: emergency mode, and pauses. Submitting, claiming and placing ask for them in a
view in memory, which a hint and a loop keep up to date, so they cost no query.
"""
