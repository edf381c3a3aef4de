"""The chart through Helm's own library, into a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_sdkpy  # type: ignore[import-untyped]
import yaml

from tests.deploy.setting_names import CHART

Object = dict[str, Any]
HOOK = "helm.sh/hook"


@dataclass(frozen=True)
class Release:
    """What a revision consists of; every object's namespace is filled in."""

    name: str
    namespace: str
    revision: int
    objects: list[Object]
    hooks: list[Object]
    notes: str
    text: str
    """The manifests as they were rendered, hooks included."""

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind, hooks included."""
        return [each for each in [*self.objects, *self.hooks] if each["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """The object of a kind whose name is the release's full name and `suffix`."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == self.full_name + suffix]
        return found

    def has(self, kind: str, suffix: str = "") -> bool:
        return any(each["metadata"]["name"] == self.full_name + suffix for each in self.of(kind))

    @property
    def full_name(self) -> str:
        """What the chart calls everything of this release: the managers' Deployment has no suffix."""
        (deployment,) = self.of("Deployment")
        return str(deployment["metadata"]["name"])

    def pods(self) -> Iterator[tuple[Object, Object]]:
        """(workload, pod template) of everything that runs pods."""
        for kind in ("Deployment", "StatefulSet", "Job"):
            for workload in self.of(kind):
                yield workload, workload["spec"]["template"]


class Helm:
    """One kubeconfig and namespace. Helm's errors are `helm_sdkpy.HelmError`."""

    def __init__(self, kubeconfig: Path, namespace: str = "yard") -> None:
        self._namespace = namespace
        self._configuration = helm_sdkpy.Configuration(namespace=namespace, kubeconfig=str(kubeconfig))

    def lint(self) -> list[str]:
        """What Helm has to say against the chart."""
        found = asyncio.run(helm_sdkpy.Lint(self._configuration).run(str(CHART)))
        return [str(message) for message in found["Messages"] or []]

    def install(self, name: str, values: Object, *, wait: bool = False, timeout_s: int = 60) -> Release:
        action = helm_sdkpy.Install(self._configuration)
        return self._release(asyncio.run(action.run(name, str(CHART), values, wait=wait, timeout=timeout_s)))

    def upgrade(self, name: str, values: Object, *, wait: bool = False, timeout_s: int = 60) -> Release:
        action = helm_sdkpy.Upgrade(self._configuration)
        return self._release(asyncio.run(action.run(name, str(CHART), values, wait=wait, timeout=timeout_s)))

    def uninstall(self, name: str) -> None:
        asyncio.run(helm_sdkpy.Uninstall(self._configuration).run(name, wait=False, timeout=60))

    def status(self, name: str) -> str:
        """`deployed`, `failed`, …"""
        found = asyncio.run(helm_sdkpy.Status(self._configuration).run(name))
        return str(found["info"]["status"])

    def _release(self, answer: Object) -> Release:
        hooks = [hook["manifest"] for hook in answer.get("hooks") or []]
        return Release(
            name=answer["name"],
            namespace=self._namespace,
            revision=answer["version"],
            objects=self._objects(answer["manifest"]),
            hooks=[each for text in hooks for each in self._objects(text)],
            notes=answer["info"].get("notes", ""),
            text="\n".join([answer["manifest"], *hooks]),
        )

    def _objects(self, manifest: str) -> list[Object]:
        objects = [each for each in yaml.safe_load_all(manifest) if each]
        for each in objects:
            each["metadata"].setdefault("namespace", self._namespace)
        return objects


def values_file(name: str) -> Object:
    """`values-production.yaml` and the like, of the chart's folder."""
    values: Object = yaml.safe_load((CHART / name).read_text())
    return values


def merged(base: Object, over: Object) -> Object:
    """As Helm lays one values file over another: mappings are merged, all else is replaced."""
    result = deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else deepcopy(value)
    return result
