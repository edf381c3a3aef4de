"""Measurements: each figure is a ratio to a reference taken in the same run, or a latency on an idle machine."""
