"""Every signal, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.alerts.signals import objectives, probes, receivers
from app.alerts.signals.base import Signal

SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {signal.name: signal for module in (objectives, probes, receivers) for signal in module.SIGNALS}
)
