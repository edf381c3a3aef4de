"""Every signal, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.alerts.signals import agents, attempts, loops, money, objectives, people, probes, queue, receivers
from app.alerts.signals.base import Signal

_FAMILIES = (attempts, queue, agents, money, people, loops, objectives, probes, receivers)

SIGNALS: Mapping[str, Signal] = MappingProxyType(
    {signal.name: signal for family in _FAMILIES for signal in family.SIGNALS}
)
