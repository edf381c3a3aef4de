"""Whether a caller's word on an approval counts, and what it makes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.auth.callers import Caller

type Refusal = Literal["not_found", "scope", "group", "self_approval", "decided", "payload_changed", "already_voted"]


@dataclass(frozen=True, slots=True)
class Asked:
    """An approval as it stands. `payload_hash` is that of what is asked now, `first_hash` that of what was asked first.

    `escalations`: how often it was handed on.
    """

    status: str
    tenant: str
    submitted_by: str
    payload_hash: str
    first_hash: str
    scope: str
    groups: frozenset[str]
    quorum: int
    self_approval: bool
    on_expiry: str
    escalations: int


@dataclass(frozen=True, slots=True)
class Vote:
    """What a caller said before. `void`: the payload was edited since."""

    caller: str
    approve: bool
    void: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """What a caller says now: of the payload it saw (`payload_hash`), or, approving, of one that it edited."""

    caller: Caller
    approve: bool
    payload_hash: str | None
    edited_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The word does not count."""

    why: Refusal


@dataclass(frozen=True, slots=True)
class Counted:
    """The word counts: `status` is what the approval is now, `votes` of its quorum say yes to `payload_hash`.

    `edits`: this word changed the payload, and earlier votes are void.
    """

    status: Literal["pending", "approved", "edited", "rejected"]
    payload_hash: str
    votes: int
    edits: bool = False


def barred(asked: Asked, caller: Caller) -> Refusal | None:
    """Why this caller may not decide this approval at all. None: it may.

    `admin` holds every scope, but is in no group that its key does not name, and is bound by four eyes.
    """
    if caller.tenant != asked.tenant:
        return "not_found"
    if not caller.may(asked.scope):
        return "scope"
    if asked.groups and not asked.groups & caller.groups:
        return "group"
    if caller.id == asked.submitted_by and not asked.self_approval:
        return "self_approval"
    return None


def judge(asked: Asked, votes: Sequence[Vote], word: Word) -> Refused | Counted:
    """What a word makes of an approval that has not expired.

    One rejection ends it. An approval counts for the payload that the caller saw, once for each caller; editing starts
    the count anew with the editor's.
    """
    why = barred(asked, word.caller) or _out_of_place(asked, word)
    if why is not None:
        return Refused(why)
    standing = {vote.caller for vote in votes if vote.approve and not vote.void}
    if not word.approve:
        return Counted("rejected", asked.payload_hash, len(standing))
    wanted = word.edited_hash or asked.payload_hash
    edits = wanted != asked.payload_hash
    if edits:
        standing = set()
    elif word.caller.id in standing:
        return Refused("already_voted")
    count = len(standing) + 1
    if count < asked.quorum:
        return Counted("pending", wanted, count, edits)
    return Counted("approved" if wanted == asked.first_hash else "edited", wanted, count, edits)


def _out_of_place(asked: Asked, word: Word) -> Refusal | None:
    if asked.status != "pending":
        return "decided"
    unseen = word.payload_hash is None and word.approve
    if unseen or word.payload_hash not in (None, asked.payload_hash):
        return "payload_changed"
    return None


def at_expiry(asked: Asked) -> Literal["expired", "rejected", "escalated"]:
    """What becomes of an approval whose time is over: it is handed on once at most."""
    if asked.on_expiry == "escalate" and asked.escalations == 0:
        return "escalated"
    return "rejected" if asked.on_expiry == "reject" else "expired"
