"""The key with which launched agents register: derived, so that every manager and every restart has the same."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy.dialects.postgresql import insert

from app.auth import secrets
from app.auth.models import ApiKey
from app.auth.service import Authenticator
from app.core.db import Database
from app.settings import AuthSettings

KEY_ID = "processes"


def _secret_of(settings: AuthSettings) -> str:
    pepper = settings.pepper.get_secret_value().encode()
    return hmac.digest(pepper, b"launched processes", hashlib.sha256).hex()[:48]


def key_of(settings: AuthSettings) -> str:
    """The key itself."""
    return secrets.join(secrets.KEY_PREFIX, KEY_ID, _secret_of(settings))


async def keep(db: Database, authenticator: Authenticator, settings: AuthSettings) -> None:
    """Have it known to the database."""
    values = {
        "tenant": "default",
        "name": "agents launched as processes",
        "digest": authenticator.digest(_secret_of(settings)),
        "scopes": ["agents:register"],
    }
    statement = insert(ApiKey).values(id=KEY_ID, **values)
    async with db.begin() as connection:
        await connection.execute(statement.on_conflict_do_update(index_elements=[ApiKey.id], set_=values))
