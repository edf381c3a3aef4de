"""Pools and the agents in them: register, heartbeat, drain, and who is fit to work.

    register ──▶ starting ──(first heartbeat or probe)──▶ idle ⇄ busy
                                                          │  ▲
                        silent and not answering /health  ▼  │ answers again
                                                         failed
    idle | busy | failed ──▶ maintenance ──▶ idle         (set by the agent's own heartbeats)
    any ──▶ draining ──▶ gone                             (draining takes no new tasks; gone is final)

Heartbeats are cheap: they go to Redis as they come and to PostgreSQL in batches; a change of status is written at
once. Every manager holds a copy of the registry (`view.py`), refreshed by a hint and by time.
"""
