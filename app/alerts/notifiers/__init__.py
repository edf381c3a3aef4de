"""Ways to reach people: one file a channel; the contract is in `base.py`."""
