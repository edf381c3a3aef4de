"""A rule as it is stored and as the API has it: JSON of its fields, matchers as text. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from app.alerts.matching import parse_matcher, text_of
from app.alerts.rule import Rule

FIELDS = tuple(field.name for field in fields(Rule) if field.name != "name")


def spec_of(rule: Rule) -> dict[str, Any]:
    """Every field but its name."""
    found = {name: getattr(rule, name) for name in FIELDS}
    return {
        **found,
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
        "receivers": list(rule.receivers),
        "matchers": [text_of(matcher) for matcher in rule.matchers],
        "action_params": dict(rule.action_params),
    }


def rule_of(name: str, spec: Mapping[str, Any]) -> Rule:
    """The rule of a spec; fields that it lacks are the defaults, those nobody knows are left out. Raises BadRule or
    BadMatcher."""
    found = {key: value for key, value in spec.items() if key in FIELDS}
    for key in ("receivers", "matchers"):
        if key in found:
            found[key] = tuple(map(parse_matcher, found[key])) if key == "matchers" else tuple(found[key])
    return Rule(name=name, **found)


def filled(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a stored spec, for people: valid or not, it is shown."""
    return {**_DEFAULTS, **{key: value for key, value in spec.items() if key in FIELDS}}


_DEFAULTS = spec_of(Rule("r", "s", ">", 0.0))
