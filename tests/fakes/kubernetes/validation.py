"""What the API server refuses: malformed objects (400), invalid ones and changes of immutable fields (422)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.fakes.kubernetes.errors import ApiError, bad_request, invalid
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.quantity import parse_quantity
from tests.fakes.kubernetes.schema import Fault, faults_of
from tests.fakes.kubernetes.selectors import selector_match

type Cause = tuple[str, str, str]

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_ENV_NAME = re.compile(r"^[^=\x00-\x1f]+$")
_LABEL_WORDS = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
# Kinds whose names are DNS labels, not subdomains; RBAC names are path segments.
_LABEL_NAMED = {"Namespace", "Service"}
_FREE_NAMED = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_WORKLOADS = {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"}
_IMMUTABLE = {
    "Deployment": ("selector",),
    "ReplicaSet": ("selector",),
    "DaemonSet": ("selector",),
    "StatefulSet": ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy"),
    "Job": ("selector", "template", "completionMode"),
}
_POD_CHANGEABLE = {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates"}


def check(kind: Kind, body: dict[str, Any], old: dict[str, Any] | None = None) -> None:
    """Judge an object that is to be stored, defaults filled in. Raises `ApiError` 400 or 422."""
    check_form(kind, body)
    causes = [*_names(kind, body), *_labels(body), *_spec(kind, body), *_quantities(body.get("spec"), "spec")]
    if old is not None:
        causes += _immutable(kind, body, old)
    if causes:
        raise invalid(kind.group, kind.kind, str(body["metadata"].get("name", "")), causes)


def check_form(kind: Kind, body: dict[str, Any]) -> None:
    """Hold the object against its kind's strict schema. Raises 400 for unknown fields and types, else 422."""
    faults = faults_of(body)
    if unknown := [f'unknown field "{fault.path}"' for fault in faults if fault.kind == "unknown"]:
        raise bad_request(
            f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: "
            f"strict decoding error: {', '.join(unknown)}".replace("'", '"')
        )
    if wrong := next((fault for fault in faults if fault.kind == "type"), None):
        raise _unmarshal(kind, wrong)
    if faults:
        name = str(body["metadata"].get("name", ""))
        raise invalid(kind.group, kind.kind, name, [_form_cause(fault) for fault in faults])


def _unmarshal(kind: Kind, fault: Fault) -> ApiError:
    return bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal into '
        f"Go struct field {kind.kind}.{fault.path}: {fault.message}"
    )


def _form_cause(fault: Fault) -> Cause:
    if fault.kind == "missing":
        return "FieldValueRequired", fault.path, "Required value"
    return "FieldValueInvalid", fault.path, f"Invalid value: {fault.message}"


def _names(kind: Kind, body: dict[str, Any]) -> Iterator[Cause]:
    name = str(body["metadata"].get("name", ""))
    at = "metadata.name"
    if kind.kind in _FREE_NAMED:
        if name in (".", "..") or "/" in name or "%" in name:
            yield "FieldValueInvalid", at, f"Invalid value: \"{name}\": may not contain '/' or '%'"
        return
    label = kind.kind in _LABEL_NAMED
    form, words, most = (_LABEL, _LABEL_WORDS, 63) if label else (_SUBDOMAIN, _SUBDOMAIN_WORDS, 253)
    if not form.match(name):
        yield "FieldValueInvalid", at, f'Invalid value: "{name}": {words}'
    if len(name) > most:
        yield "FieldValueInvalid", at, f'Invalid value: "{name}": must be no more than {most} characters'


def _labels(body: dict[str, Any]) -> Iterator[Cause]:
    yield from label_causes(body["metadata"].get("labels") or {}, "metadata.labels")
    for key in body["metadata"].get("annotations") or {}:
        yield from _key_causes(key.lower(), "metadata.annotations")
    template = (body.get("spec") or {}).get("template") if isinstance(body.get("spec"), dict) else None
    meta = template.get("metadata") if isinstance(template, dict) else None
    yield from label_causes((meta or {}).get("labels") or {}, "spec.template.labels")


def label_causes(labels: dict[str, Any], at: str) -> Iterator[Cause]:
    """Bad keys (prefix/name, 253/63 characters) and values (63 characters)."""
    for key, value in labels.items():
        yield from _key_causes(key, at)
        if len(value or "") > 63:
            yield "FieldValueInvalid", at, f'Invalid value: "{value}": must be no more than 63 characters'
        elif not _VALUE.match(value or ""):
            yield "FieldValueInvalid", at, f'Invalid value: "{value}": {_VALUE_WORDS}'


def _key_causes(key: str, at: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    fits = bool(name) and len(name) <= 63 and _VALUE.match(name)
    if not fits or (slash and (len(prefix) > 253 or not _SUBDOMAIN.match(prefix))):
        yield "FieldValueInvalid", at, f'Invalid value: "{key}": name part must consist of alphanumeric characters'


def _spec(kind: Kind, body: dict[str, Any]) -> Iterator[Cause]:
    spec = body.get("spec")
    if not isinstance(spec, dict):
        return
    if kind.kind in _WORKLOADS:
        yield from _workload(spec)
    if kind.kind == "Deployment":
        yield from _rolling(spec)
    if kind.kind in _WORKLOADS | {"Job"}:
        pod = (spec.get("template") or {}).get("spec") or {}
        wanted = ("OnFailure", "Never") if kind.kind == "Job" else ("Always",)
        if pod.get("restartPolicy") not in wanted:
            words = ", ".join(f'"{value}"' for value in wanted)
            text = f'Unsupported value: "{pod.get("restartPolicy")}": supported values: {words}'
            yield "FieldValueNotSupported", "spec.template.spec.restartPolicy", text
        # The pods of a StatefulSet get a volume for each claim, of its name.
        claims = [{"name": claim["metadata"]["name"]} for claim in spec.get("volumeClaimTemplates") or []]
        yield from _pod({**pod, "volumes": [*(pod.get("volumes") or []), *claims]}, "spec.template.spec")
    if kind.kind == "Pod":
        yield from _pod(spec, "spec")
    if kind.kind == "HorizontalPodAutoscaler" and spec.get("maxReplicas", 1) < spec.get("minReplicas", 1):
        text = f"Invalid value: {spec['maxReplicas']}: must be greater than or equal to `minReplicas`"
        yield "FieldValueInvalid", "spec.maxReplicas", text


def _workload(spec: dict[str, Any]) -> Iterator[Cause]:
    replicas = spec.get("replicas", 0)
    if replicas < 0:
        text = f"Invalid value: {replicas}: must be greater than or equal to 0"
        yield "FieldValueInvalid", "spec.replicas", text
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        text = "Invalid value: {}: empty selector is invalid for deployment"
        yield "FieldValueInvalid", "spec.selector", text
        return
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector_match(selector)(labels):
        text = f"Invalid value: {labels}: `selector` does not match template `labels`"
        yield "FieldValueInvalid", "spec.template.metadata.labels", text


def _rolling(spec: dict[str, Any]) -> Iterator[Cause]:
    rolling = spec["strategy"].get("rollingUpdate")
    if spec["strategy"]["type"] == "Recreate" and rolling:
        text = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield "FieldValueForbidden", "spec.strategy.rollingUpdate", text
    elif rolling and all(str(rolling.get(side)).rstrip("%") == "0" for side in ("maxSurge", "maxUnavailable")):
        text = "Invalid value: 0: may not be 0 when `maxSurge` is 0"
        yield "FieldValueInvalid", "spec.strategy.rollingUpdate.maxUnavailable", text


def _pod(spec: dict[str, Any], at: str) -> Iterator[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield "FieldValueRequired", f"{at}.containers", "Required value"
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    grace = spec.get("terminationGracePeriodSeconds") or 0
    if grace < 0:
        yield "FieldValueInvalid", f"{at}.terminationGracePeriodSeconds", f"Invalid value: {grace}: must be >= 0"
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            yield from _container(container, f"{at}.{group}[{index}]", volumes)
    names = [container.get("name") for container in containers]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield "FieldValueDuplicate", f"{at}.containers[{index}].name", f'Duplicate value: "{name}"'


def _container(container: dict[str, Any], at: str, volumes: set[Any]) -> Iterator[Cause]:
    name = str(container.get("name", ""))
    if not _LABEL.match(name) or len(name) > 63:
        yield "FieldValueInvalid", f"{at}.name", f'Invalid value: "{name}": {_LABEL_WORDS}'
    if not container.get("image"):
        yield "FieldValueRequired", f"{at}.image", "Required value"
    elif container["image"] != container["image"].strip():
        text = f'Invalid value: "{container["image"]}": must not have leading or trailing whitespace'
        yield "FieldValueInvalid", f"{at}.image", text
    for index, variable in enumerate(container.get("env") or []):
        if not _ENV_NAME.match(str(variable.get("name", ""))):
            text = f'Invalid value: "{variable.get("name")}": a valid environment variable name is needed'
            yield "FieldValueInvalid", f"{at}.env[{index}].name", text
    for index, port in enumerate(container.get("ports") or []):
        if not 0 < port.get("containerPort", 0) < 65536:
            text = f"Invalid value: {port.get('containerPort')}: must be between 1 and 65535, inclusive"
            yield "FieldValueInvalid", f"{at}.ports[{index}].containerPort", text
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield "FieldValueNotFound", f"{at}.volumeMounts[{index}].name", f'Not found: "{mount.get("name")}"'
    yield from _resources(container.get("resources") or {}, f"{at}.resources")


def _resources(resources: dict[str, Any], at: str) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for name, wanted in (resources.get("requests") or {}).items():
        try:
            over = name in limits and parse_quantity(wanted) > parse_quantity(limits[name])
        except ValueError:
            continue
        if over:
            text = f'Invalid value: "{wanted}": must be less than or equal to {name} limit of {limits[name]}'
            yield "FieldValueInvalid", f"{at}.requests", text


def _quantities(value: Any, at: str) -> Iterator[Cause]:
    """Every `requests`, `limits`, `hard` map below, wherever it is."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _quantities(item, f"{at}[{index}]")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in ("requests", "limits", "hard") and isinstance(inner, dict):
                yield from _amounts(inner, f"{at}.{key}")
            else:
                yield from _quantities(inner, f"{at}.{key}")


def _amounts(amounts: dict[str, Any], at: str) -> Iterator[Cause]:
    for name, amount in amounts.items():
        try:
            negative = parse_quantity(amount) < 0
        except ValueError as error:
            yield "FieldValueInvalid", f"{at}[{name}]", f'Invalid value: "{amount}": {error}'
            continue
        if negative:
            text = f'Invalid value: "{amount}": must be greater than or equal to 0'
            yield "FieldValueInvalid", f"{at}[{name}]", text


def _immutable(kind: Kind, body: dict[str, Any], old: dict[str, Any]) -> Iterator[Cause]:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    for field in _IMMUTABLE.get(kind.kind, ()):
        if spec.get(field) != before.get(field):
            yield "FieldValueInvalid", f"spec.{field}", f"Invalid value: {spec.get(field)}: field is immutable"
    if old.get("immutable") and (body.get("data") != old.get("data") or not body.get("immutable")):
        yield "FieldValueForbidden", "data", "Forbidden: field is immutable when `immutable` is set"
    if kind.kind == "Secret" and body.get("type") != old.get("type"):
        yield "FieldValueInvalid", "type", f'Invalid value: "{body.get("type")}": field is immutable'
    if kind.kind in ("RoleBinding", "ClusterRoleBinding") and body.get("roleRef") != old.get("roleRef"):
        yield "FieldValueInvalid", "roleRef", "Invalid value: cannot change roleRef"
    if kind.kind == "Pod" and _fixed(spec) != _fixed(before):
        text = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        yield "FieldValueForbidden", "spec", f"{text} `spec.activeDeadlineSeconds` or `spec.tolerations`"


def _fixed(spec: dict[str, Any]) -> dict[str, Any]:
    """A pod's spec without what may change; binding it to a node is the scheduler's."""
    fixed = {key: value for key, value in spec.items() if key not in _POD_CHANGEABLE | {"nodeName"}}
    for group in ("containers", "initContainers"):
        if group in fixed:
            fixed[group] = [{k: v for k, v in item.items() if k != "image"} for item in fixed[group]]
    return fixed
