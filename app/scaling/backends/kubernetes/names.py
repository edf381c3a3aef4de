"""Names and labels that Kubernetes takes, from names of ours. Pure.

A name that fits stays as it is; one that has to be altered ends in a short hash of the original, so that two different
ones never become the same.
"""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 45
"""Pods add two dashes and 15 letters at most, and their own name is cut to a host name of 63."""
MAX_LABEL = 63
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_HASH = 8


def deployment_name(instance: str, pool: str) -> str:
    """The pool's Deployment: a DNS-1123 label of at most `MAX_NAME` characters."""
    return _fitting(f"{instance}-{pool}", f"{instance}/{pool}")


def secret_name(instance: str) -> str:
    """The Secret with the agents' key that Yardmaster keeps itself."""
    return _fitting(f"{instance}-agent-key", f"{instance}/agent-key", limit=253)


def label_value(text: str) -> str:
    """`text` as the value of a label: letters, digits and `-_.` between letters or digits, at most 63."""
    if len(text) <= MAX_LABEL and _LABEL.fullmatch(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[: MAX_LABEL - _HASH - 1].strip("-_.")
    return f"{kept}-{_short(text)}" if kept else _short(text)


def _fitting(text: str, original: str, limit: int = MAX_NAME) -> str:
    if len(text) <= limit and _NAME.fullmatch(text):
        return text
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower())[: limit - _HASH - 1].strip("-")
    if kept and not kept[0].isalpha():  # some kinds of objects want a letter first
        kept = f"y{kept}"[: limit - _HASH - 1].strip("-")
    return f"{kept or 'pool'}-{_short(original)}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
