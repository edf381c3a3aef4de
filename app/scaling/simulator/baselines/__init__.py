"""What others do: the autoscalers that people would use instead, by their documented formulas and defaults.

Each is a pure function with its formula and source, and a small class that keeps its timers. All get the same readings
as our policies, the pool's min and max, and the target that fits agents best; a slot that runs a task is busy, whatever
the processor does meanwhile. None is tuned: a default is changed only where the pool's definition says it.
"""
