"""Executors: one file a way to reach an agent. `base.py` states the contract."""
