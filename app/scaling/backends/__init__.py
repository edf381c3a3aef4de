"""Backends: one file a kind of place where replicas run."""
