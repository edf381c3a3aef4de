"""The people part: approvals, and Slack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from fastapi import APIRouter

from app.alerts import api as slack_api
from app.alerts import wire as slack_wire
from app.alerts.alert_clicks import AlertClicks
from app.alerts.approvals import ApprovalNotices
from app.alerts.clicks import Clicks
from app.alerts.directory import Directory
from app.alerts.notifiers import registry as notifiers
from app.alerts.replies import Replies
from app.alerts.signature import Verifier
from app.approvals import api as approvals_api
from app.approvals import wire as approvals_wire
from app.approvals.loop import ExpiryLoop
from app.approvals.retention import INTERVAL_S as RETENTION_INTERVAL_S
from app.approvals.retention import RetentionLoop
from app.approvals.service import Approvals
from app.core.loop import Loop
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

log = structlog.get_logger()


class People(Part):
    """approvals, and Slack."""

    tags = (
        ("approvals", "Questions to people about one exact action."),
        ("slack", "Where approvals are posted in Slack, and who may decide them there."),
    )
    wire = (approvals_wire, slack_wire)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self.approvals = Approvals(yard.db, yard.durable.approval_hooks)
        expiry = ExpiryLoop(yard.db, yard.clock, self.approvals)
        self.loops.append(Loop("approvals", expiry.tick, interval_s=yard.settings.approvals.sweep_interval_s))
        retention = RetentionLoop(yard.db, self.leader("approval-retention"))
        self.loops.append(Loop("approval-retention", retention.tick, interval_s=RETENTION_INTERVAL_S))
        self._build_slack(yard)

    def _build_slack(self, yard: Yard) -> None:
        settings = yard.settings.slack
        catalogue = notifiers.installed()
        for name, problem in catalogue.problems.items():
            log.error("notifier_not_loaded", name=name, problem=problem)
        self.notifiers = catalogue.build(yard.settings)
        slack = self.notifiers.get("slack")
        self.replies = Replies(settings)
        self.clicks = Clicks(
            yard.db, self.approvals.decide, self.replies, slack, self._clicked, answer_s=settings.answer_s
        )
        self.alert_clicks: AlertClicks | None = None
        self.notices: Loop | None = None
        if slack is not None:
            notices = ApprovalNotices(yard.db, yard.clock, slack, settings)
            self.notices = Loop("approval-notices", notices.tick, interval_s=settings.interval_s)
            self.loops.append(self.notices)

    def routers(self) -> list[APIRouter]:
        yard = self.yard
        verifier = Verifier(yard.settings.slack.signing_secret.get_secret_value(), yard.clock)
        return [
            approvals_api.router(yard.db, self.approvals, yard.edge),
            slack_api.router(Directory(yard.db), yard.edge),
            slack_api.interactions_router(verifier, self.clicks, self.alert_clicks),
        ]

    async def open(self) -> None:
        for notifier in self.notifiers.values():
            await notifier.open()
        await self.replies.open()

    async def close(self) -> None:
        await self.clicks.close()
        for notifier in self.notifiers.values():
            await notifier.close()
        await self.replies.close()

    def _clicked(self) -> None:
        if self.notices is not None:
            self.notices.wake()
