"""Mail, through the installation's relay."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from pydantic import Field, field_validator

from app.alerts.notifiers.alerts import Delivered, Notice, Outcome, Permanent, ReceiverConfig, Retryable
from app.alerts.notifiers.email_message import mail
from app.alerts.notifiers.reasons import reason
from app.alerts.notifiers.smtp import Sent, SmtpServer, is_address, send
from app.core.clock import Clock

MAX_RECIPIENTS = 50
MAX_REMEMBERED = 1000


class EmailConfig(ReceiverConfig):
    """`to` are addresses in ASCII (a domain of other letters as Punycode)."""

    to: tuple[str, ...] = Field(min_length=1, max_length=MAX_RECIPIENTS)

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not is_address(address):
                raise ValueError(f"not an address: {address[:100]!r}")
        return tuple(dict.fromkeys(value))


class EmailNotifier:
    """A receipt is the Message-ID of the mail, which the next one answers.

    Where a server takes a mail for some and puts others off, the others alone are tried again: who has it is remembered
    here, and only here, so that after a crash the same mail may come twice.
    """

    config_type = EmailConfig
    resend_s: float | None = None

    def __init__(self, server: SmtpServer | None, clock: Clock, *, timeout_s: float) -> None:
        self._server, self._clock, self._timeout_s = server, clock, timeout_s
        self._open = False
        self._has_it: dict[UUID, frozenset[str]] = {}

    async def open(self) -> None:
        self._open = True

    async def close(self) -> None:
        self._open = False

    async def notify(self, config: EmailConfig, notice: Notice) -> Outcome:
        if self._server is None:
            return Permanent("E-mail: no mail server is set up.")
        if not self._open:
            return Retryable("The service is starting or stopping.")
        if notice.reason == "acknowledged":  # a mail for each would be noise
            return Delivered(notice.receipt)
        have = self._has_it.get(notice.id, frozenset())
        left = [address for address in config.to if address not in have]
        server = self._server
        body, message_id = mail(
            notice, sender=server.sender, name=server.name, recipients=config.to, now=self._clock.now()
        )
        sent = await send(server, left, body, timeout_s=self._timeout_s)
        if sent.failure is not None:
            return self._failed(sent)
        outcome = self._judged(sent, left, have, message_id)
        self._remember(notice.id, outcome, have | (set(left) - sent.refused.keys()))
        return outcome

    def _failed(self, sent: Sent) -> Outcome:
        code, text = sent.failure or (0, "")
        words = self._reason(f"The mail server: {code or ''} {text}")
        return Permanent(words) if sent.lasting else Retryable(words)

    def _judged(self, sent: Sent, left: list[str], have: frozenset[str], message_id: str) -> Outcome:
        """Any who may still get it are tried again; who never will is only noted while others got it."""
        if not sent.refused:
            return Delivered(message_id)
        words = self._reason(f"{len(sent.refused)} of {len(left)} recipients were refused: {_replies(sent.refused)}")
        if any(code < 500 for code, _ in sent.refused.values()):
            return Retryable(words)
        return Delivered(message_id, words) if have or len(sent.refused) < len(left) else Permanent(words)

    def _remember(self, notice_id: UUID, outcome: Outcome, have: frozenset[str]) -> None:
        self._has_it.pop(notice_id, None)
        if isinstance(outcome, Retryable) and have:
            self._has_it[notice_id] = have
        while len(self._has_it) > MAX_REMEMBERED:
            self._has_it.pop(next(iter(self._has_it)))

    def _reason(self, words: str) -> str:
        held = self._server.password.get_secret_value() if self._server is not None else ""
        return reason(words, [held] if held else [])


def _replies(refused: Mapping[str, tuple[int, str]]) -> str:
    return "; ".join(f"{address} {code} {text}" for address, (code, text) in sorted(refused.items())[:3])
