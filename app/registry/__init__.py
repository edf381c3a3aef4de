"""Pools and the agents in them: register, heartbeat, drain, and who is fit to work.

    register ──▶ starting ──(first heartbeat or probe)──▶ idle ⇄ busy
                                                          │  ▲
                        silent and not answering /health  ▼  │ answers again
                                                         failed ──(for too long)──▶ gone
    idle | busy | failed ──▶ maintenance ──▶ idle         (set by the agent's own heartbeats)
    any ──▶ draining ──▶ gone                             (draining takes no new tasks; gone is final)

A URL belongs to one agent of one pool at a time, or its slots would count twice.

Heartbeats are cheap: kept in memory and written to PostgreSQL in batches; a change of status is written at
once. Every manager holds a copy of the registry (`view.py`), refreshed by a hint and by time.
"""
