"""The part that tells people: receivers, silences, groups, notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

from app.alerts import notification_api, notification_wire, receiver_api, receiver_wire, silence_api, silence_wire
from app.alerts.alert_clicks import AlertClicks
from app.alerts.changes import Changes
from app.alerts.group_service import Groups
from app.alerts.holding_service import Holding
from app.alerts.notification_loop import TOPIC, NotificationLoop
from app.alerts.notifiers.alert_registry import Outside
from app.alerts.notifiers.pagerduty import URLS
from app.alerts.notifiers.smtp import SmtpServer
from app.alerts.outside import Notifiers
from app.alerts.receiver_service import Receivers
from app.alerts.silence_service import Silences
from app.core.loop import Loop
from app.registry.addresses import AllowList
from app.settings import AlertSettings
from app.webhooks import addresses
from app.wiring.part import Part

if TYPE_CHECKING:
    from app.wiring import Yard

GRACE_S, CHANGES_INTERVAL_S = 3.0, 10.0


class Notifying(Part):
    """Receivers, silences, notifications."""

    tags = (("notifications", "Whom alerts are told to, what holds them back, and what was told."),)
    wire = (receiver_wire, silence_wire, notification_wire)

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        settings = yard.settings.alerts
        self.notifiers = Notifiers(outside(yard))
        self.receivers = Receivers(yard.db, self.notifiers)
        self.silences, self.holding, self.groups = Silences(yard.db), Holding(yard.db), Groups(yard.db)
        slack = yard.settings.slack
        self.clicks = AlertClicks(yard.db, self.groups, self.silences, yard.people.replies, answer_s=slack.answer_s)
        yard.people.alert_clicks = self.clicks
        self.notifications = NotificationLoop(
            yard.db, yard.clock, self.leader("notifications"), self.notifiers, settings
        )
        self.loop = Loop("notifications", self.notifications.tick, interval_s=settings.flush_interval_s)
        self.notifications.on_free = self.loop.wake
        self.topics[TOPIC] = self._hinted
        self.changes = Changes(
            yard.db, self.leader("changes"), self.notifiers, retention_s=settings.retention_s, url=settings.url
        )
        self.loops += [self.loop, Loop("changes", self.changes.tick, interval_s=CHANGES_INTERVAL_S)]

    def routers(self) -> list[APIRouter]:
        yard = self.yard
        return [
            receiver_api.router(self.receivers, yard.edge, yard.clock),
            *silence_api.routers(self.silences, self.holding, yard.edge),
            *notification_api.routers(yard.db, self.groups, yard.edge),
        ]

    async def open(self) -> None:
        await self.notifiers.open()

    async def close(self) -> None:
        await self.clicks.close()
        await self.notifications.close(GRACE_S)
        await self.notifiers.close()

    def _hinted(self, _: str) -> None:
        self.notifications.hint()
        self.loop.wake()


def outside(yard: Yard) -> Outside:
    """What this installation gives its notifiers. They may call where webhooks may."""
    settings = yard.settings
    loopback = settings.scaling.allow_process
    own = settings.alerts.pagerduty_url
    return Outside(
        AllowList(addresses.networks(settings.webhooks.allowed_networks, loopback=loopback)).allows_text,
        yard.clock,
        timeout_s=settings.alerts.timeout_s,
        slack_token=settings.slack.token.get_secret_value(),
        slack_api_url=settings.slack.api_url,
        pagerduty_urls=dict.fromkeys(URLS, own) if own else URLS,
        smtp=smtp_server(settings.alerts),
    )


def smtp_server(settings: AlertSettings) -> SmtpServer | None:
    """None: there is none. Raises ValueError for settings that cannot be."""
    if not settings.smtp_host:
        return None
    return SmtpServer(
        settings.smtp_host,
        settings.smtp_sender,
        settings.smtp_security,
        settings.smtp_port,
        settings.smtp_username,
        settings.smtp_password,
    )
