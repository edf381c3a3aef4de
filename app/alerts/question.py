"""What an approval says to people. Pure: from the facts to a message, the same in every manager.

Whoever approves must have seen what will run. So the exact arguments are in the message, characters that show as
nothing or turn the text around are written out (`\\u202e`), and a message that had to be cut offers no approval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from app.alerts.notifiers.base import Action, Confirm, Message, Outcome, Text, Value

APPROVE, REJECT = "approval.approve", "approval.reject"
PRETTY, MOST_ARGS, TITLE_ACTION = 2000, 16_000, 80

_SHOWN_AS_NOTHING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_VARIATION = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF))

_ENDINGS = {
    "approved": "Approved",
    "edited": "Approved with changed arguments",
    "rejected": "Rejected",
    "expired": "Expired without a decision",
    "superseded": "No longer needed: the task went on or ended",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """An approval as people need to know it. `args` is the JSON text that `payload_hash` is of.

    `submitted_by` and `decided_by` are names where the key has one; `face` changes when the message must.
    """

    id: UUID
    task_id: UUID
    pool: str
    step: str
    action: str
    args: str
    edited: bool
    payload_hash: str
    risk: str | None
    submitted_by: str
    status: str
    scope: str
    groups: tuple[str, ...]
    quorum: int
    votes: int
    escalations: int
    expires_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    decided_from: str | None
    reason: str
    face: str

    @property
    def pending(self) -> bool:
        return self.status == "pending"


def message(facts: Facts) -> Message:
    """What is posted while the approval is pending, and what the message says after."""
    action = visible(facts.action)
    title = action if len(action) <= TITLE_ACTION else action[: TITLE_ACTION - 1] + "…"
    return Message(
        title=f"Approval needed: {title}" if facts.pending else f"Approval: {title}",
        fields=_fields(facts, action),
        texts=(
            Text("Arguments (edited since they were asked):" if facts.edited else "Arguments:"),
            Text(shown_args(facts.args), code=True),
        ),
        actions=_actions(facts, title) if facts.pending else (),
        outcome=None if facts.pending else _outcome(facts),
        elsewhere=(
            f"Approve where all of it can be read: `yard approvals show {facts.id}`, or GET /v1/approvals/{facts.id}."
            if facts.pending
            else f"All of it: `yard approvals show {facts.id}`."
        ),
    )


def shown_args(args: str) -> str:
    """JSON of the same value, indented where that is short; of very long ones the beginning."""
    if len(args) > MOST_ARGS:
        return visible(args[:MOST_ARGS])
    try:
        value = orjson.loads(args)
        pretty = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # deeper than orjson goes
        return visible(args)
    text = pretty if len(pretty) <= PRETTY else args
    return "\n".join(visible(line) for line in text.split("\n"))


def visible(text: str) -> str:
    """The text with every character that is not seen as itself written out; within JSON strings, the same JSON."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _seen(char) else _written_out(char) for char in text)


def button_value(facts: Facts) -> str:
    """What comes back with a click: which approval, and the hash of the payload that was shown."""
    return f"{facts.id}:{facts.payload_hash}"


def read_button(value: str) -> tuple[UUID, str]:
    """The approval's id and the hash; raises ValueError for what `button_value` did not make."""
    approval_id, _, payload_hash = value.partition(":")
    if len(payload_hash) != 64 or not payload_hash.isalnum():
        raise ValueError("not a button of an approval")
    return UUID(approval_id), payload_hash


def _fields(facts: Facts, action: str) -> tuple[tuple[str, Value], ...]:
    groups = ", ".join(facts.groups)
    fields: list[tuple[str, Value]] = [
        ("Action", action),
        ("Pool", facts.pool),
        ("Task", str(facts.task_id)),
        ("Step", visible(facts.step)),
        ("Submitted by", visible(facts.submitted_by)),
        ("Risk", visible(facts.risk or "not stated")),
        ("Payload hash", facts.payload_hash),
    ]
    if facts.pending:
        fields.append(("Who may decide", f"{facts.scope}, group {groups}" if groups else facts.scope))
        fields.append(("Expires", facts.expires_at or "never"))
        if facts.quorum > 1:
            fields.append(("Approvals so far", f"{facts.votes} of {facts.quorum}"))
        if facts.escalations:
            fields.append(("Escalated to", groups))
    return tuple(fields)


def _actions(facts: Facts, title: str) -> tuple[Action, ...]:
    value = button_value(facts)
    sure = Confirm("Approve?", f"{title} will run with exactly the arguments shown.", "Approve", "Back")
    not_so = Confirm("Reject?", f"{title} will not run, and that is final.", "Reject", "Back")
    return (
        Action(APPROVE, "Approve", value, "primary", sure, needs_whole=True),
        Action(REJECT, "Reject", value, "danger", not_so),
    )


def _outcome(facts: Facts) -> Outcome:
    return Outcome(
        _ENDINGS.get(facts.status, facts.status),
        by=visible(facts.decided_by or ""),
        source=facts.decided_from or "",
        at=facts.decided_at,
        reason=visible(facts.reason),
    )


def _seen(char: str) -> bool:
    return (
        char.isprintable()
        and char not in _SHOWN_AS_NOTHING
        and not any(first <= ord(char) <= last for first, last in _VARIATION)
    )


def _written_out(char: str) -> str:
    """As JSON writes it: two escapes for a character beyond the 16-bit ones."""
    raw = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[n : n + 2].hex()}" for n in range(0, len(raw), 2))
