"""Which notifiers there are: the built-in ones and those other distributions bring as entry points.

A distribution outside the tree adds one with

    [project.entry-points."yardmaster.notifiers"]
    pager = "acme_pager:make_pager"

where `make_pager(settings)` is a `Factory`. A built-in name cannot be taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType

from app.alerts.notifiers.base import Notifier
from app.alerts.notifiers.slack import SlackNotifier
from app.settings import Settings

GROUP = "yardmaster.notifiers"

type Factory = Callable[[Settings], Notifier | None]
"""None: the settings do not name what it needs (a token, an address), so it is off."""


def _slack(settings: Settings) -> Notifier | None:
    return SlackNotifier(settings.slack) if settings.slack.token.get_secret_value() else None


BUILT_IN: Mapping[str, Factory] = MappingProxyType({"slack": _slack})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Factories by name, and by its name why an entry point was left out."""

    factories: Mapping[str, Factory]
    problems: Mapping[str, str]

    def build(self, settings: Settings) -> dict[str, Notifier]:
        """Every notifier that is configured. Raises what a factory raises: wrong settings fail the start."""
        made = {name: factory(settings) for name, factory in self.factories.items()}
        return {name: notifier for name, notifier in made.items() if notifier is not None}


def load(points: Iterable[metadata.EntryPoint]) -> Catalogue:
    """The built-in factories and those of `points`. One that is broken is left out and named, never raised."""
    factories, problems = dict(BUILT_IN), dict[str, str]()
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        try:
            factories[point.name] = _factory(point, taken=factories)
        except Exception as error:  # any code may run on import; a broken plug-in must not stop the managers
            problem = f"entry point {point.name} = {point.value}: {type(error).__name__}: {error}"
            problems[point.name] = "; ".join(filter(None, (problems.get(point.name), problem)))
    return Catalogue(MappingProxyType(factories), MappingProxyType(problems))


def _factory(point: metadata.EntryPoint, *, taken: Mapping[str, Factory]) -> Factory:
    if point.name in taken:
        raise ValueError("the name is taken")
    loaded = point.load()
    if not callable(loaded):
        raise TypeError(f"a {type(loaded).__name__} is not callable")
    factory: Factory = loaded
    return factory


def installed() -> Catalogue:
    """The catalogue of this environment. Call it at start-up and log its `problems`."""
    return load(metadata.entry_points(group=GROUP))
