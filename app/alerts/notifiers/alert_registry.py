"""The notifiers of alerts, by the name that a receiver calls its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from app.alerts.notifiers.alertmanager import AlertmanagerConfig, AlertmanagerNotifier
from app.alerts.notifiers.alerts import AlertNotifier, ReceiverConfig
from app.alerts.notifiers.email import EmailConfig, EmailNotifier
from app.alerts.notifiers.pagerduty import URLS, PagerDutyConfig, PagerDutyNotifier
from app.alerts.notifiers.slack_alerts import API_URL, SlackAlertNotifier, SlackConfig
from app.alerts.notifiers.smtp import SmtpServer
from app.alerts.notifiers.webhook import WebhookConfig, WebhookNotifier
from app.core.clock import Clock
from app.webhooks.addresses import Allows


@dataclass(frozen=True, slots=True)
class Outside:
    """What this installation gives its notifiers: where they may connect to, and what is the same for all receivers.

    `timeout_s`: one call of a provider that takes longer has failed.
    """

    allows: Allows
    clock: Clock
    timeout_s: float = 10.0
    slack_token: str = ""
    slack_api_url: str = API_URL
    pagerduty_urls: Mapping[str, str] = URLS
    smtp: SmtpServer | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """`config_type` reads a receiver's configuration; `make` builds the notifier, without I/O."""

    config_type: type[ReceiverConfig]
    make: Callable[[Outside], AlertNotifier[Any]]


def _pagerduty(outside: Outside) -> AlertNotifier[Any]:
    return PagerDutyNotifier(outside.allows, outside.clock, timeout_s=outside.timeout_s, urls=outside.pagerduty_urls)


def _slack(outside: Outside) -> AlertNotifier[Any]:
    return SlackAlertNotifier(
        outside.allows,
        outside.clock,
        timeout_s=outside.timeout_s,
        token=outside.slack_token,
        api_url=outside.slack_api_url,
    )


def _email(outside: Outside) -> AlertNotifier[Any]:
    return EmailNotifier(outside.smtp, outside.clock, timeout_s=outside.timeout_s)


def _webhook(outside: Outside) -> AlertNotifier[Any]:
    return WebhookNotifier(outside.allows, outside.clock, timeout_s=outside.timeout_s)


def _alertmanager(outside: Outside) -> AlertNotifier[Any]:
    return AlertmanagerNotifier(outside.allows, outside.clock, timeout_s=outside.timeout_s)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "alertmanager": Kind(AlertmanagerConfig, _alertmanager),
        "email": Kind(EmailConfig, _email),
        "pagerduty": Kind(PagerDutyConfig, _pagerduty),
        "slack": Kind(SlackConfig, _slack),
        "webhook": Kind(WebhookConfig, _webhook),
    }
)
