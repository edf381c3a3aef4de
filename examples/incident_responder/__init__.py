"""What is wrong, and what would show it? An agent that asks before it looks.

log ─▶ mine (drain3 templates, suspicions) ─▶ propose (one reading command) ─▶ people approve ─▶ run ─▶ report

Every arrow is a durable step: the agent may die, and the answer may take days.
"""
