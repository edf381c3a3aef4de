"""Signals of receivers."""

from __future__ import annotations

from app.alerts.signals.base import Signal

SIGNALS: tuple[Signal, ...] = ()
