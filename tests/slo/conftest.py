from tests.core.database import clock, db

__all__ = ["clock", "db"]
