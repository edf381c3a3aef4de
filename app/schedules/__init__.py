"""Tasks by the clock: cron with a time zone, an interval, or once.

The row of a schedule is locked while it fires: the task, the run and the next time commit together, so that each tick
makes one task, however many managers look.
"""
