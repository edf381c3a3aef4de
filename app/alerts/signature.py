"""Whether a request comes from Slack: HMAC-SHA256 of `v0:{timestamp}:{raw body}` with the app's signing secret.

X-Slack-Request-Timestamp: seconds since 1970, at most 300 s from now
X-Slack-Signature: "v0=" + the HMAC in hex
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from slack_sdk import signature

from app.core.clock import Clock
from app.core.errors import NotFound, Problem

WINDOW_S = 300
_TIMESTAMP, _SIGNATURE = re.compile(r"[0-9]{1,12}"), re.compile(r"v0=[0-9a-f]{64}")


class SlackNotConfigured(NotFound):
    code, title = "slack_not_configured", "Slack is not configured"


class BadSignature(Problem):
    status, code, title = 401, "slack_signature_invalid", "Not signed by Slack"


class StaleTimestamp(Problem):
    status, code, title = 401, "slack_timestamp_expired", "Signed too long ago"


class _Time(signature.Clock):
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> float:
        return self._clock.now().timestamp()


class Verifier:
    """Slack's own verifier, shielded from what it does not expect. Without a secret nothing is accepted."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._time = _Time(clock)
        self._inner = signature.SignatureVerifier(secret, self._time) if secret.strip() else None

    def check(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Return for a request that Slack signed. Raises SlackNotConfigured, StaleTimestamp or BadSignature."""
        if self._inner is None:
            raise SlackNotConfigured("This service takes no clicks of Slack: YARD_SLACK_SIGNING_SECRET is not set.")
        timestamp = headers.get("x-slack-request-timestamp", "")
        given = headers.get("x-slack-signature", "")
        if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(given):
            raise BadSignature("The headers X-Slack-Request-Timestamp and X-Slack-Signature are missing or damaged.")
        if abs(self._time.now() - int(timestamp)) > WINDOW_S:
            raise StaleTimestamp(f"The timestamp is more than {WINDOW_S} s away from this server's clock.")
        try:
            genuine = self._inner.is_valid(body, timestamp, given)
        except UnicodeDecodeError:  # the verifier reads the body as text; Slack's is ASCII
            genuine = False
        if not genuine:
            raise BadSignature("The signature is not that of this body with this service's signing secret.")
