"""Fleets: keep as many replicas of a pool as are wanted.

`decide.py` says which replicas to start, drain or stop; `loop.py` does it through a backend. Today's backend runs
replicas as local processes, the way a cluster runs pods.
"""
