"""What the indicator of an OpenSLO document counts, of what this service can count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.slo.objective import KINDS, Kind, Scope
from app.slo.yaml_documents import Place

OURS = "Yardmaster"
_SOURCE = ("metricSourceRef", "type", "spec")
_SPEC = (
    "kind",
    "tenant",
    "pool",
    "label",
    "queue_wait",
    "evaluator",
    "version",
    "pass_score",
    "coverage_floor",
    "settle_after_s",
)


@dataclass(frozen=True, slots=True)
class Metric:
    """Which tasks, and how: `fields` are those of an objective of this kind. `path`: where the source's spec is."""

    kind: Kind
    scope: Scope
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def read_sli(spec: Place, sources: Mapping[str, Place]) -> Metric | None:
    """An SLI's spec. Complains about what is not served and gives None then."""
    if not spec.value:
        return None
    spec.only("description", "thresholdMetric", "ratioMetric")
    if ("thresholdMetric" in spec) == ("ratioMetric" in spec):
        spec.fault("one of ratioMetric and thresholdMetric is needed")
        return None
    before = len(spec.faults)
    metric = _threshold(spec, sources) if "thresholdMetric" in spec else _ratio(spec, sources)
    return metric if len(spec.faults) == before else None


def _threshold(spec: Place, sources: Mapping[str, Place]) -> Metric | None:
    place = spec.within("thresholdMetric")
    place.only("metricSource")
    metric = _source(place, sources)
    if metric is not None and metric.kind != "latency":
        place.fault(f"{metric.kind} is a ratioMetric; only latency has a threshold")
    return metric


def _ratio(spec: Place, sources: Mapping[str, Place]) -> Metric | None:
    place = spec.within("ratioMetric")
    place.only("counter", "good", "bad", "total", "raw", "rawType")
    for name in ("raw", "rawType"):
        if name in place:
            place.fault("a ratio that somebody else worked out is not served: its events cannot be counted", name)
            return None
    if place.flag("counter") is False:
        place.fault("tasks are counted: true, or left out", "counter")
    if ("good" in place) == ("bad" in place):
        place.fault("one of good and bad is needed, with total")
        return None
    part = place.within("good" if "good" in place else "bad")
    whole = place.within("total")
    for each in (part, whole):
        each.only("metricSource")
    metric, of = _source(part, sources), _source(whole, sources)
    if metric is None or of is None:
        return None
    if metric.kind == "latency":
        part.fault("latency is a thresholdMetric: its objective has the threshold")
    if (metric.kind, metric.scope, metric.fields) != (of.kind, of.scope, of.fields):
        whole.fault("both parts of a ratio are about the same tasks: their specs are the same")
    return metric


def _source(part: Place, sources: Mapping[str, Place]) -> Metric | None:
    place = part.within("metricSource")
    if not place.value:
        return None
    place.only(*_SOURCE)
    kind = place.text("type")
    reference = place.text("metricSourceRef")
    if reference is not None and reference not in sources:
        place.fault(f"there is no DataSource {reference!r} in the file", "metricSourceRef")
    elif reference is None and kind is None:
        place.fault("is missing", "type")
    if kind not in (None, OURS):
        place.fault(f"only {OURS} is served: objectives are about the tasks of this service", "type")
        return None
    return _spec(place.within("spec"))


def _spec(spec: Place) -> Metric | None:
    if not spec.value:
        return None
    spec.only(*_SPEC)
    written = spec.text("kind", needed=True)
    kind = next((each for each in KINDS if each == written), None)
    if kind is None:
        if written is not None:
            spec.fault(f"one of {', '.join(KINDS)}", "kind")
        return None
    key, value = _label(spec)
    fields: dict[str, Any] = {
        "queue_wait": spec.flag("queue_wait"),
        "evaluator": spec.text("evaluator"),
        "version": spec.text("version"),
        "pass_score": spec.number("pass_score"),
        "coverage_floor": spec.number("coverage_floor"),
        "settle_after_s": _whole(spec, "settle_after_s"),
    }
    given = {name: found for name, found in fields.items() if found is not None}
    return Metric(kind, Scope(spec.text("tenant"), spec.text("pool"), key, value), spec.path, given)


def _label(spec: Place) -> tuple[str | None, str | None]:
    label = spec.within("label", needed=False)
    if not label.value:
        return None, None
    if len(label.value) != 1:
        label.fault("an objective is about one label")
    key = next(iter(label.value))
    if not isinstance(key, str):
        label.fault("a key is a text; put it in quotes")
        return None, None
    return key, label.text(key, needed=True)


def _whole(spec: Place, name: str) -> int | None:
    found = spec.number(name)
    if found is None:
        return None
    if found != int(found):
        spec.fault("whole seconds are needed", name)
        return None
    return int(found)
