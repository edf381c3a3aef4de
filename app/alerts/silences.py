"""Silences: for a while, alerts that meet all matchers of one are not told to anybody. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from app.alerts.matching import all_match, check_selective
from app.alerts.records import Labels, Matcher

type SilenceState = Literal["pending", "active", "expired"]


class BadSilence(ValueError):
    """The message says what is wrong with its times. Matchers raise BadMatcher."""


@dataclass(frozen=True, slots=True)
class Silence:
    """From `starts_at` until just before `ends_at`, both aware times, for alerts that meet all `matchers`."""

    id: UUID
    matchers: tuple[Matcher, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str = ""
    comment: str = ""

    def state(self, now: datetime) -> SilenceState:
        if now >= self.ends_at:
            return "expired"
        return "pending" if now < self.starts_at else "active"

    def mutes(self, labels: Labels, now: datetime) -> bool:
        return self.state(now) == "active" and all_match(self.matchers, labels)


def check_silence(silence: Silence) -> Silence:
    """The same silence, which can be stored. Raises BadSilence or BadMatcher.

    As in Alertmanager, one without matchers, or with only such that match the empty value, is refused.
    """
    if silence.ends_at <= silence.starts_at:
        raise BadSilence("a silence ends after it starts")
    check_selective(silence.matchers)
    return silence


def expire(silence: Silence, now: datetime) -> Silence:
    """The same silence, over now: a pending one never begins, an expired one stays as it is."""
    match silence.state(now):
        case "expired":
            return silence
        case "active":
            return replace(silence, ends_at=now)
        case "pending":
            return replace(silence, starts_at=now, ends_at=now)


def silenced_by(silences: Iterable[Silence], labels: Labels, now: datetime) -> Silence | None:
    """The silence that mutes an alert with these labels; of several the one that ends last."""
    found = [silence for silence in silences if silence.mutes(labels, now)]
    return max(found, key=lambda silence: (silence.ends_at, silence.id), default=None)
