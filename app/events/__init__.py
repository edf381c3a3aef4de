"""What happened, in order: one row an event, numbered per task, written in the transaction of the change itself.

A task's events are numbered by its own row (`event_seq`), whose lock orders them: no number is visible before a
smaller one. Watchers are told through `hub.py` that there is something to read, and read it from the table.
"""
