"""Who is asking (bearer tokens) and what they may do (RBAC rules)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kubernetes.errors import ApiError, named, qualified
from tests.fakes.kubernetes.kinds import Kinds
from tests.fakes.kubernetes.store import Store


@dataclass(frozen=True)
class Ask:
    """What a request wants to do: the attributes an authorizer sees."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass
class User:
    """`rules` None: may do everything. `account` (namespace, name): what RoleBindings in the cluster give it."""

    name: str
    rules: list[tuple[dict[str, Any], str]] | None = None
    account: tuple[str, str] | None = None


@dataclass
class Access:
    """Without tokens everybody is `admin`; with some, a request without a known one is answered with 401."""

    store: Store
    kinds: Kinds
    admin: User = field(default_factory=lambda: User("system:admin"))
    tokens: dict[str, User] = field(default_factory=dict)

    def authenticate(self, header: str | None) -> User:
        """Raises 401."""
        if not self.tokens:
            return self.admin
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or token.strip() not in self.tokens:
            raise ApiError(401, "Unauthorized")
        return self.tokens[token.strip()]

    def authorize(self, user: User, ask: Ask) -> None:
        """Raises 403 in the words of the RBAC authorizer."""
        if self.may(user, ask):
            return
        resource = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
        where = f' in the namespace "{ask.namespace}"' if ask.namespace else " at the cluster scope"
        what = f'{qualified(ask.group, ask.resource)} "{ask.name}"' if ask.name else qualified(ask.group, ask.resource)
        text = f'{what} is forbidden: User "{user.name}" cannot {ask.verb} resource "{resource}" in API group '
        text += f'"{ask.group}"{where}'
        raise ApiError(403, text, details=named(ask.group, ask.resource, ask.name))

    def may(self, user: User, ask: Ask) -> bool:
        """Whether any rule lets the user do it."""
        if user.rules is None and user.account is None:
            return True
        rules = [*(user.rules or []), *self._bound(user)]
        return any(namespace in ("", ask.namespace) and allows(rule, ask) for rule, namespace in rules)

    def _bound(self, user: User) -> Iterable[tuple[dict[str, Any], str]]:
        if user.account is None:
            return
        for binding_kind in ("RoleBinding", "ClusterRoleBinding"):
            for binding in self.store.items(self.kinds.named(binding_kind)):
                where = binding["metadata"].get("namespace", "")
                if any(_is_subject(subject, user.account, where) for subject in binding.get("subjects") or []):
                    yield from ((rule, where) for rule in self._rules(binding["roleRef"], where))

    def _rules(self, ref: dict[str, Any], namespace: str) -> list[dict[str, Any]]:
        role = self.store.get(self.kinds.named(ref["kind"]), namespace, ref["name"])
        return (role or {}).get("rules") or []


def _is_subject(subject: dict[str, Any], account: tuple[str, str], where: str) -> bool:
    if subject.get("kind") == "Group":
        return subject.get("name") in ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    return subject.get("kind") == "ServiceAccount" and (subject.get("namespace", where), subject["name"]) == account


def allows(rule: dict[str, Any], ask: Ask) -> bool:
    """Whether one RBAC rule covers the ask. A rule with resourceNames never covers what has no name."""
    full = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    resources = {"*", full, *((f"*/{ask.subresource}",) if ask.subresource else ())}
    names = rule.get("resourceNames") or []
    return (
        bool({"*", ask.verb} & set(rule.get("verbs") or []))
        and bool({"*", ask.group} & set(rule.get("apiGroups") or []))
        and bool(resources & set(rule.get("resources") or []))
        and (not names or ask.name in names)
    )


def rules_of(role: dict[str, Any] | Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Rules with their namespace from a Role or ClusterRole object, or from a plain list of rules (everywhere)."""
    if isinstance(role, dict):
        where = role["metadata"].get("namespace", "") if role["kind"] == "Role" else ""
        return [(rule, where) for rule in role.get("rules") or []]
    return [(rule, "") for rule in role]
