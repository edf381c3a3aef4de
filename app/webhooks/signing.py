"""Secrets and signatures of Standard Webhooks (https://www.standardwebhooks.com, version 1).

A secret is not stored: it is derived from the server's pepper, the webhook's id and its generation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from uuid import UUID

PREFIX = "whsec_"


def key_of(pepper: bytes, webhook_id: UUID, generation: int) -> bytes:
    """The 32 bytes that a webhook's deliveries are signed with."""
    return hmac.digest(pepper, f"webhook:{webhook_id}:{generation}".encode(), hashlib.sha256)


def shown(key: bytes) -> str:
    """The secret as its owner stores it."""
    return PREFIX + base64.b64encode(key).decode()


def keys_in_use(pepper: bytes, webhook_id: UUID, generation: int) -> list[bytes]:
    """The newest key, and the one before it: a receiver that still has the old secret verifies until it is changed."""
    return [key_of(pepper, webhook_id, number) for number in (generation, generation - 1) if number > 0]


def headers(keys: Sequence[bytes], delivery_id: UUID, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers; `timestamp` in Unix seconds. One signature a key, over id.timestamp.body."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": str(delivery_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
