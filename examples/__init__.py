"""Agents that do real work without an LLM. Each runs by itself: `python -m examples.log_analyzer`.

`pools.EXAMPLE_POOLS` describes their pools for `PUT /v1/pools/{pool}`.
"""
