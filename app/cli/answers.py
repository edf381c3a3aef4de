"""The service's JSON, whose missing fields are a clear failure and not a crash."""

from __future__ import annotations

import json
from typing import Any

from app.cli.failures import Failure


class Answer(dict[str, Any]):
    """An object of the service. To ask for a field it lacks is a Failure: that is another service, or release."""

    def __missing__(self, name: str) -> Any:
        raise Failure(f"the server's answer has no {name!r}: is it Yardmaster, and of this release?")


def decoded(content: bytes | str) -> Any:
    """The JSON, its objects as Answers; ValueError where it is none."""
    return json.loads(content, object_hook=Answer)
