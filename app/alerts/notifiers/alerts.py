"""The seam for alerts: how a group of alerts is told to a receiver.

It stands beside `base.py` because it has another shape, not another medium. An approval is one message in one channel
of ours; an alert is told to a receiver that its owner set up, so the receiver's own configuration (a routing key, a
URL, a list of addresses) comes with each call; what is told is a group of firing and resolved alerts, which some
providers merge by a key of ours; and what follows is a value, since a failure is judged and stored rather than
handled. What both can share, they share: `blocks.py` makes Slack's messages for approvals and for alerts.

A notifier is one object a manager, built without I/O; loops call it concurrently:

    open()                   before the first call, inside the event loop
    notify(config, notice)   tells what the group is now; the receipt goes into the next notice of the same group
    close()                  after the last call; both may be called when the other was not

`notify` never raises anything but a cancellation, and ends by itself within a bounded time. It says whether trying the
same again can help; the caller decides when. Cancelling it, or a failure whose cause is unknown, leaves open whether
people were told: delivery is at least once, and what is stable over tries (`Notice.id`, the group's key) lets receivers
recognise a second one. No secret of a configuration is in an outcome.

`resend_s`: a receiver that forgets wants the same again every so many seconds while any of the group fires; None: it
remembers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, SecretStr

from app.alerts.records import SEVERITIES, Alert, Labels, Severity

type Reason = Literal["first", "new_alerts", "resolved", "repeat", "acknowledged"]


@dataclass(frozen=True, slots=True)
class Notice:
    """What a receiver is told of one group.

    `id` is the notification's own and the same in all its tries. `group_key` names the group for good; `group_labels`
    are those it is grouped by. `alerts` is at least one. `url` is where a person reads more of the group. `receipt` is
    what the last delivered notice of this group to this receiver returned, empty where there was none or the group was
    resolved since.
    `acknowledged_by`: who has taken the group. With the reason `acknowledged` that is the news, and a medium that
    has no notion of it tells nothing.
    """

    id: UUID
    group_key: str
    receiver: str
    reason: Reason
    alerts: tuple[Alert, ...]
    group_labels: Labels = field(default_factory=dict)
    url: str = ""
    receipt: str = ""
    acknowledged_by: str = ""

    @property
    def firing(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if alert.firing)

    @property
    def resolved(self) -> tuple[Alert, ...]:
        return tuple(alert for alert in self.alerts if not alert.firing)

    @property
    def severity(self) -> Severity:
        """The worst of what fires; of what fired, when all is resolved."""
        found = {alert.severity for alert in self.firing or self.alerts}
        return next((item for item in SEVERITIES if item in found), "warning")

    @property
    def common_labels(self) -> Labels:
        """What all alerts say alike."""
        return _common([alert.labels for alert in self.alerts])

    @property
    def common_annotations(self) -> Labels:
        return _common([alert.annotations for alert in self.alerts])


@dataclass(frozen=True, slots=True)
class Delivered:
    """`receipt` is for the next notice of the group, opaque to others, without secrets; `note`: what was left out."""

    receipt: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Retryable:
    """The same may arrive later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """The same may arrive after a pause. A duration, as no two machines' clocks agree.

    `own`: that is this notifier's pace for a channel; else the provider's word, and the receiver takes nothing before.
    """

    pause: timedelta
    reason: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Permanent:
    """The same will never arrive: somebody has to change something."""

    reason: str


type Failure = Retryable | Throttled | Permanent
type Outcome = Delivered | Failure


class ReceiverConfig(BaseModel):
    """What one receiver needs, as its owner wrote it. Everything secret in it is a SecretStr."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def secrets(self) -> list[str]:
        """Every secret in it, in clear, to be kept out of reasons."""
        found = list[str]()
        for name in type(self).model_fields:
            value = getattr(self, name)
            held = value if isinstance(value, tuple) else (value,)
            found += [item.get_secret_value() for item in held if isinstance(item, SecretStr)]
        return [secret for secret in found if secret]


class AlertNotifier[Config: ReceiverConfig](Protocol):
    """See the module's text."""

    @property
    def config_type(self) -> type[Config]: ...

    @property
    def resend_s(self) -> float | None: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def notify(self, config: Config, notice: Notice) -> Outcome: ...


def _common(maps: list[Mapping[str, str]]) -> dict[str, str]:
    first, *others = maps or [{}]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
