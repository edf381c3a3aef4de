"""Dispatch: every manager claims what it has slots for, places it, calls the agent, and settles the outcome.

    loop ──claim+place──▶ attempt ──execute──▶ settle
      ▲                                          │
      └────────── slot given back ◀──────────────┘

A claim and the choice of agent commit together, so the row of a running task always names the agent that has it: a
rescuer can send the task back there. No transaction is open while an agent works. A manager is alive while its row's
heartbeat is younger than a lease; the live ones split every agent's slots (`slots.py`), and a task whose manager is
not alive goes back to the queue (`rescue.py`).
"""
