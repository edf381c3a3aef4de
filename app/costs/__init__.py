"""What work consumed: one row per attempt and model, as the executor reported it."""
