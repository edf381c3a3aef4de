"""Making and hashing secrets: HMAC-SHA256 with the server's pepper, compared in constant time (RFC 2104)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

KEY_PREFIX, AGENT_PREFIX = "yk", "ya"
_TOKEN = re.compile(r"(yk|ya)_([0-9a-z-]{8,40})_([0-9a-f]{48})")


@dataclass(frozen=True, slots=True)
class Token:
    """A presented secret taken apart: its kind (`yk` or `ya`), the readable id, the secret part."""

    kind: str
    id: str
    secret: str


def new_secret() -> str:
    """192 random bits in hex."""
    return secrets.token_hex(24)


def new_key_id() -> str:
    """A short readable id."""
    return secrets.token_hex(5)


def join(kind: str, id_: str, secret: str) -> str:
    """What the owner is shown, once."""
    return f"{kind}_{id_}_{secret}"


def split(text: str) -> Token | None:
    """The parts of a presented key or token; None when it does not have their form."""
    match = _TOKEN.fullmatch(text)
    return Token(*match.groups()) if match else None


def digest(pepper: bytes, secret: str) -> bytes:
    """What is stored of a secret."""
    return hmac.digest(pepper, secret.encode(), hashlib.sha256)


def matches(pepper: bytes, secret: str, stored: bytes) -> bool:
    """Whether `secret` is the one stored, in constant time."""
    return hmac.compare_digest(digest(pepper, secret), stored)
