"""Every table of every domain, for `migrations/env.py` and `wiring.py`."""

from app.alerts import action_models as alert_actions
from app.alerts import beat_models as alert_beats
from app.alerts import change_models as changes
from app.alerts import models as alerts
from app.alerts import notification_models as notifications
from app.approvals import models as approvals
from app.auth import models as auth
from app.core import leader
from app.core.db import Base
from app.costs import models as costs
from app.dispatch import models as dispatch
from app.events import models as events
from app.limits import models as limits
from app.limits import restraint_models as restraints
from app.limits import tightening_models as tightening
from app.registry import models as registry
from app.scaling import models as scaling
from app.schedules import models as schedules
from app.slo import models as slo
from app.slo import probe_models as probes
from app.tasks import models as tasks
from app.webhooks import models as webhooks

metadata = Base.metadata

__all__ = [
    "alert_actions",
    "alert_beats",
    "alerts",
    "approvals",
    "auth",
    "changes",
    "costs",
    "dispatch",
    "events",
    "leader",
    "limits",
    "metadata",
    "notifications",
    "probes",
    "registry",
    "restraints",
    "scaling",
    "schedules",
    "slo",
    "tasks",
    "tightening",
    "webhooks",
]
