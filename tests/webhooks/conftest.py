from tests.core.database import clock, db
from tests.support.webhook_receiver import receiver

__all__ = ["clock", "db", "receiver"]
