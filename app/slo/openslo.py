"""Objectives as OpenSLO v1 documents (openslo/v1, https://github.com/OpenSLO/OpenSLO), and back. Pure.

A file holds SLO documents, and the SLI, DataSource and Service documents that they name. What an SLI counts is a metric
source of the type `Yardmaster`, whose `spec` says which tasks:

    kind: availability | latency | accuracy
    tenant, pool, label: {key: value}                                       whose tasks
    queue_wait: true | false                                                latency
    evaluator, version, pass_score, coverage_floor, settle_after_s          accuracy

Availability and accuracy are a `ratioMetric` (good or bad, and total), latency is a `thresholdMetric` whose objective
has `op: lte` and `value` in seconds. What we cannot serve is refused with the reason and its path in the file, never
left out: other sources, raw ratios, time slices, several objectives, alert policies. Labels, annotations, display names
and the service's name are accepted and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.core.errors import Invalid
from app.slo.objective import Objective, WindowSpec, faults
from app.slo.openslo_sli import OURS, Metric, read_sli
from app.slo.openslo_window import read_window
from app.slo.yaml_documents import BadYaml, Place, documents

VERSION = "openslo/v1"
_ALERTS = ("AlertPolicy", "AlertCondition", "AlertNotificationTarget")
_KINDS = ("SLO", "SLI", "DataSource", "Service", *_ALERTS)
_METADATA = ("name", "displayName", "labels", "annotations")
_SLO = (
    "description",
    "service",
    "indicator",
    "indicatorRef",
    "timeWindow",
    "budgetingMethod",
    "objectives",
    "alertPolicies",
)
_OBJECTIVE = ("displayName", "op", "value", "target", "targetPercent", "timeSliceTarget", "timeSliceWindow")
_NO_ALERTS = "alerts follow from the objective's target (burn rates); who hears of them is said by alert rules"


class BadOpenSlo(Invalid):
    """A file that is not read as a whole. `extra["errors"]` lists what is wrong, by path in the file."""

    code, title = "openslo_invalid", "Invalid OpenSLO file"


def read(text: str) -> list[Objective]:
    """The objectives of a file, in its order. Raises BadOpenSlo with every fault that was found."""
    try:
        found = documents(text)
    except BadYaml as exc:
        raise _refused([("", str(exc))]) from None
    errors: list[tuple[str, str]] = []
    by_kind = _sorted([Place(value, f"documents[{number}]", errors) for number, value in enumerate(found)])
    slis = {name: read_sli(place.within("spec"), by_kind["DataSource"]) for name, place in by_kind["SLI"].items()}
    objectives = [
        objective
        for place in by_kind["SLO"].values()
        if (objective := _objective(place, slis, by_kind["DataSource"])) is not None
    ]
    if not errors and not objectives:
        errors.append(("", "there is no SLO in it"))
    if errors:
        raise _refused(errors)
    return objectives


def _refused(errors: list[tuple[str, str]]) -> BadOpenSlo:
    path, message = errors[0]
    listed = [{"path": path, "message": message} for path, message in errors]
    return BadOpenSlo(f"{path}: {message}" if path else message, extra={"errors": listed})


def _sorted(places: list[Place]) -> Mapping[str, dict[str, Place]]:
    """Documents by kind and name."""
    found: dict[str, dict[str, Place]] = {kind: {} for kind in _KINDS}
    for place in places:
        if not isinstance(place.value, Mapping):
            place.fault("a document is an object")
            continue
        place.only("apiVersion", "kind", "metadata", "spec")
        if place.text("apiVersion", needed=True) not in (None, VERSION):
            place.fault(f"only {VERSION} is read", "apiVersion")
        kind, name = place.text("kind", needed=True), _name(place)
        if kind in _ALERTS:
            place.fault(_NO_ALERTS, "kind")
        elif kind is not None and kind not in _KINDS:
            place.fault(f"one of {', '.join(_KINDS)}", "kind")
        elif kind is not None and name is not None:
            if name in found[kind]:
                place.fault(f"there is another {kind} of this name", "metadata.name")
            found[kind][name] = place
    for place in found["DataSource"].values():
        _data_source(place.within("spec"))
    return found


def _name(place: Place) -> str | None:
    metadata = place.within("metadata")
    metadata.only(*_METADATA)
    return metadata.text("name", needed=True) if metadata.value else None


def _data_source(spec: Place) -> None:
    spec.only("description", "type", "connectionDetails")
    if spec.text("type", needed=True) not in (None, OURS):
        spec.fault(f"only {OURS} is served: objectives are about the tasks of this service", "type")
    if spec.value.get("connectionDetails"):
        spec.fault("there is nothing to connect to", "connectionDetails")


def _objective(place: Place, slis: Mapping[str, Metric | None], sources: Mapping[str, Place]) -> Objective | None:
    spec = place.within("spec")
    if not spec.value:
        return None
    before = len(place.faults)
    spec.only(*_SLO)
    spec.text("service", needed=True)
    if spec.value.get("alertPolicies"):
        spec.fault(_NO_ALERTS, "alertPolicies")
    if spec.text("budgetingMethod", needed=True) not in (None, "Occurrences"):
        spec.fault("only Occurrences is served: tasks are counted, not slices of time", "budgetingMethod")
    metric, window = _metric(spec, slis, sources), read_window(spec)
    goals = list(spec.items("objectives"))
    if len(goals) != 1:
        spec.fault("exactly one is served: make an SLO of each", "objectives")
    if metric is None or not goals:
        return None
    objective = _made(place, spec, metric, window, goals[0])
    return objective if len(place.faults) == before else None


def _metric(spec: Place, slis: Mapping[str, Metric | None], sources: Mapping[str, Place]) -> Metric | None:
    if ("indicator" in spec) == ("indicatorRef" in spec):
        spec.fault("one of indicator and indicatorRef is needed", "indicator")
        return None
    if "indicator" in spec:
        inner = spec.within("indicator")
        inner.only("metadata", "spec")
        inner.within("metadata", needed=False).only(*_METADATA)
        return read_sli(inner.within("spec"), sources)
    name = spec.text("indicatorRef")
    if name is not None and name not in slis:
        spec.fault(f"there is no SLI {name!r} in the file", "indicatorRef")
    return slis.get(name or "")


def _made(place: Place, spec: Place, metric: Metric, window: WindowSpec, goal: Place) -> Objective | None:
    goal.only(*_OBJECTIVE)
    for name in ("timeSliceTarget", "timeSliceWindow"):
        if name in goal:
            goal.fault("time slices are not served", name)
    written = "targetPercent" if "targetPercent" in goal else "target"
    if "target" in goal and "targetPercent" in goal:
        goal.fault("only one of target and targetPercent is given", "targetPercent")
    target = goal.number(written, needed=True)
    threshold_s = goal.number("value", needed=True) if metric.kind == "latency" else None
    if metric.kind == "latency" and goal.text("op", needed=True) not in (None, "lte", "lt"):
        goal.fault("lte or lt: a task is bad because it takes longer", "op")
    for name in ("op", "value"):
        if metric.kind != "latency" and name in goal:
            goal.fault("belongs to a thresholdMetric", name)
    if target is None or (metric.kind == "latency" and threshold_s is None):
        return None
    objective = Objective(
        name=place.value["metadata"]["name"],
        kind=metric.kind,
        target=target / 100 if written == "targetPercent" else target,
        window=window,
        scope=metric.scope,
        threshold_s=threshold_s,
        description=spec.text("description") or "",
        **metric.fields,
    )
    paths = _paths(place, spec, goal.path, written, metric.path)
    for path, message in faults(objective):
        place.faults.append((paths.get(path) or f"{metric.path}.{re.sub(r'^scope[.]', '', path)}", message))
    return objective


def _paths(place: Place, spec: Place, goal: str, written: str, source: str) -> Mapping[str, str]:
    """Where in the file a field of an objective is."""
    return {
        "name": f"{place.path}.metadata.name",
        "description": f"{spec.path}.description",
        "target": f"{goal}.{written}",
        "threshold_s": f"{goal}.value",
        "window.seconds": f"{spec.path}.timeWindow[0].duration",
        "window.kind": f"{spec.path}.timeWindow[0].duration",
        "window.zone": f"{spec.path}.timeWindow[0].calendar.timeZone",
        "kind": f"{source}.kind",
    }
