"""The notifiers of this installation, opened, and one call of one of them as a value: nothing they do raises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from pydantic import ValidationError

from app.alerts.notifiers.alert_registry import KINDS, Outside
from app.alerts.notifiers.alerts import AlertNotifier, Notice, Outcome, Permanent, ReceiverConfig, Retryable
from app.alerts.notifiers.pagerduty import PagerDutyNotifier
from app.alerts.notifiers.pagerduty_event import Change
from app.alerts.receivers import ReceiverRecord

log = structlog.get_logger()

CALLS, MARGIN_S = 2, 1.0
"""A notice takes at most so many calls of its provider, one after the other."""


class Notifiers:
    """One notifier a kind. `open()` before use, `close()` at the end."""

    def __init__(self, outside: Outside) -> None:
        self.allows = outside.allows
        self.bound_s = CALLS * outside.timeout_s + MARGIN_S
        self._by_kind: dict[str, AlertNotifier[Any]] = {name: kind.make(outside) for name, kind in KINDS.items()}

    async def open(self) -> None:
        for notifier in self._by_kind.values():
            await notifier.open()

    async def close(self) -> None:
        for notifier in self._by_kind.values():
            await notifier.close()

    def resend_s(self, kind: str) -> float | None:
        """How often a receiver of this kind wants the same again; None: it remembers."""
        notifier = self._by_kind.get(kind)
        return None if notifier is None else notifier.resend_s

    async def notify(self, receiver: ReceiverRecord, notice: Notice) -> Outcome:
        """Tell the receiver; ends within `bound_s`."""
        notifier = self._by_kind.get(receiver.kind)
        return await self._bounded(
            receiver, None if notifier is None else lambda config: notifier.notify(config, notice)
        )

    @property
    def tells_changes(self) -> list[str]:
        """The kinds of receivers that are told of changes."""
        return [name for name, notifier in self._by_kind.items() if isinstance(notifier, PagerDutyNotifier)]

    async def change(self, receiver: ReceiverRecord, change: Change) -> Outcome:
        """Tell the receiver, whose kind is one of `tells_changes`, of a change; ends within `bound_s`."""
        notifier = self._by_kind.get(receiver.kind)
        tell = notifier.change if isinstance(notifier, PagerDutyNotifier) else None
        return await self._bounded(receiver, None if tell is None else lambda config: tell(config, change))

    async def _bounded(
        self, receiver: ReceiverRecord, call: Callable[[Any], Coroutine[Any, Any, Outcome]] | None
    ) -> Outcome:
        config = config_of(receiver)
        if call is None or config is None:
            return Permanent(f"The configuration cannot be read as one of kind {receiver.kind}.")
        try:
            async with asyncio.timeout(self.bound_s):
                return await call(config)
        except TimeoutError:
            return Retryable(f"No answer within {self.bound_s:g} s.")
        except Exception as exc:  # a notifier that breaks its word must not stop the others
            log.error("alert_notifier_failed", receiver=receiver.name, kind=receiver.kind, exc_info=exc)
            return Retryable(f"The notifier failed: {type(exc).__name__}.")


def config_of(receiver: ReceiverRecord) -> ReceiverConfig | None:
    """None: it was stored by another version, and cannot be read."""
    try:
        return KINDS[receiver.kind].config_type.model_validate(dict(receiver.config))
    except (KeyError, ValidationError):
        return None
