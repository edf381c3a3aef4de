"""What is done about alerts by itself: one file an action, and the dict in `registry`."""
