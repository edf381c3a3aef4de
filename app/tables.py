"""Every table of every domain, for `migrations/env.py` and `wiring.py`."""

from app.auth import models as auth
from app.core import leader
from app.core.db import Base
from app.costs import models as costs
from app.dispatch import models as dispatch
from app.events import models as events
from app.registry import models as registry
from app.scaling import models as scaling
from app.tasks import models as tasks

metadata = Base.metadata

__all__ = ["auth", "costs", "dispatch", "events", "leader", "metadata", "registry", "scaling", "tasks"]
