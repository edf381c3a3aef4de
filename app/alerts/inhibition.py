"""Inhibition: an alert is not told while another one that explains it fires. Pure, with Alertmanager's semantics.

A trap that is documented there, and is the same here: a label of `equal` that is missing in both alerts, or empty, is
equal in both. A rule with `equal: [node]` inhibits every target that has no node once a source without one fires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.alerts.matching import BadMatcher, all_match, check
from app.alerts.records import Alert, Labels, Matcher

type Equal = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """An alert that meets `source` inhibits those that meet `target` and have the same values of the `equal` labels."""

    name: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: Equal = ()


@dataclass(frozen=True, slots=True)
class Inhibitor:
    """Why an alert is inhibited: the rule's name, and the fingerprint of the alert that fires."""

    rule: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Sources:
    """The smallest fingerprint among the sources with the same labels, and among those that are no targets as well."""

    any: str
    one_sided: str | None


@dataclass(frozen=True, slots=True)
class Inhibitions:
    """The rules with the alerts that fire: built once for a moment by `of`, then asked for each alert."""

    rules: tuple[InhibitRule, ...] = ()
    sources: tuple[Mapping[Equal, _Sources], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, rules: Sequence[InhibitRule], alerts: Iterable[Alert]) -> Inhibitions:
        """`alerts`: all there are, of every group. Only those that fire inhibit; a silenced one does so too."""
        firing = {alert.fingerprint: alert.labels for alert in alerts if alert.firing}
        return cls(tuple(rules), tuple(_sources(rule, firing) for rule in rules))

    def inhibited_by(self, labels: Labels) -> Inhibitor | None:
        """By the first rule that applies. An alert that is source and target of a rule is not inhibited by others
        that are both, and so never by itself."""
        for rule, sources in zip(self.rules, self.sources, strict=True):
            if not sources or not all_match(rule.target, labels):
                continue
            found = sources.get(_values(rule, labels))
            if found is None:
                continue
            source = found.one_sided if all_match(rule.source, labels) else found.any
            if source is not None:
                return Inhibitor(rule.name, source)
        return None


def check_rule(rule: InhibitRule) -> InhibitRule:
    """The same rule, which can be stored. Raises BadMatcher."""
    if not rule.source or not rule.target:
        raise BadMatcher("an inhibition needs at least one matcher for its sources and one for its targets")
    check(rule.source)
    check(rule.target)
    check(Matcher(name, "!=", "") for name in rule.equal)
    return rule


def _sources(rule: InhibitRule, firing: Mapping[str, Labels]) -> Mapping[Equal, _Sources]:
    found = dict[Equal, _Sources]()
    for fingerprint, labels in sorted(firing.items()):
        if not all_match(rule.source, labels):
            continue
        values = _values(rule, labels)
        before = found.get(values)
        one_sided = before.one_sided if before else None
        if one_sided is None and not all_match(rule.target, labels):
            one_sided = fingerprint
        found[values] = _Sources(before.any if before else fingerprint, one_sided)
    return found


def _values(rule: InhibitRule, labels: Labels) -> Equal:
    return tuple(labels.get(name, "") for name in rule.equal)
