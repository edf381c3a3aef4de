"""What can be watched: one small reader a signal, over the tables."""
