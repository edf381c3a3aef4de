"""From a URL path to the resource it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.fakes.kubernetes.access import Ask
from tests.fakes.kubernetes.kinds import Kind, Kinds

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean of a query as the server reads it: anything but `0` and `false` is true."""
    return name in query and query[name].lower() not in ("0", "false")


@dataclass(frozen=True)
class Target:
    """A collection (no name), an object, or a subresource of one."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    def verb(self, method: str, query: Mapping[str, str]) -> str:
        """What RBAC calls the request."""
        if method == "DELETE":
            return "delete" if self.name else "deletecollection"
        if method == "GET" and not self.name:
            return "watch" if flag(query, "watch") else "list"
        return _VERBS.get(method, method.lower())

    def ask(self, verb: str, query: Mapping[str, str]) -> Ask:
        """The attributes an authorizer sees; a list of one name by field selector is about that name."""
        name = self.name
        if not name and verb in ("list", "watch", "deletecollection"):
            terms = [part.partition("=") for part in query.get("fieldSelector", "").split(",")]
            name = next((value.lstrip("=") for key, _, value in terms if key == "metadata.name"), "")
        return Ask(verb, self.kind.group, self.kind.plural, self.subresource, self.namespace, name)


def target_of(kinds: Kinds, path: str) -> Target | None:
    """None where no kind is served at this path."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    # /namespaces/{ns}/{plural} is inside a namespace; /namespaces/{ns} and its subresources are the namespace.
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kinds.at(group, version, rest[0]) if rest else None
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and subresource not in kind.subresources:
        return None
    # An object of a namespaced kind has a path only inside its namespace.
    if kind.namespaced and name and not namespace:
        return None
    return Target(kind, namespace, name, subresource)
