"""Whose word counts, and what it makes of an approval: by tables, and for any history of words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.approvals.decide import Asked, Counted, Refused, Vote, Word, at_expiry, barred, judge
from app.auth.callers import Caller

ANN, BOB, EVE = (Caller(name, "t", frozenset({"approvals:decide"})) for name in ("ann", "bob", "eve"))
ASKED = Asked("pending", "t", "sam", "h0", "h0", "approvals:decide", frozenset(), 1, False, "expire", 0)
TWO = replace(ASKED, quorum=2)


def yes(caller: Caller = ANN, seen: str | None = "h0", edited: str | None = None) -> Word:
    return Word(caller, True, seen, edited)


def no(caller: Caller = ANN, seen: str | None = None) -> Word:
    return Word(caller, False, seen)


def caller(name: str = "ann", tenant: str = "t", scopes: set[str] | None = None, *groups: str) -> Caller:
    return Caller(name, tenant, frozenset({"approvals:decide"} if scopes is None else scopes), groups=frozenset(groups))


SRE = replace(ASKED, groups=frozenset({"sre", "dba"}))
OPEN = replace(ASKED, self_approval=True)


@pytest.mark.parametrize(
    ("asked", "who", "why"),
    [
        (ASKED, caller(), None),
        (ASKED, caller(tenant="other"), "not_found"),
        (ASKED, caller("sam", "other", {"admin"}), "not_found"),
        (ASKED, caller("ann", "t", set()), "scope"),
        (ASKED, caller("ann", "t", {"tasks:write", "pools:admin"}), "scope"),
        (ASKED, caller("ann", "t", {"admin"}), None),
        (replace(ASKED, scope="pools:admin"), caller(), "scope"),
        (replace(ASKED, scope="pools:admin"), caller("ann", "t", {"pools:admin"}), None),
        (SRE, caller(), "group"),
        (SRE, caller("ann", "t", {"admin"}), "group"),
        (SRE, caller("ann", "t", None, "billing"), "group"),
        (SRE, caller("ann", "t", None, "billing", "dba"), None),
        (ASKED, caller("sam"), "self_approval"),
        (ASKED, caller("sam", "t", {"admin"}), "self_approval"),
        (OPEN, caller("sam"), None),
        (replace(SRE, self_approval=True), caller("sam"), "group"),
    ],
)
def test_who_may_decide(asked: Asked, who: Caller, why: str | None) -> None:
    assert barred(asked, who) == why
    refused = Refused(why) if why else None  # type: ignore[arg-type]
    for word in (yes(who), no(who)):
        verdict = judge(asked, [], word)
        assert verdict == refused if refused else isinstance(verdict, Counted)


ANN_SAID = [Vote("ann", True)]
EDITED = replace(ASKED, payload_hash="h1")


@pytest.mark.parametrize(
    ("asked", "votes", "word", "verdict"),
    [
        (ASKED, [], yes(), Counted("approved", "h0", 1)),
        (ASKED, [], yes(edited="h1"), Counted("edited", "h1", 1, edits=True)),
        (ASKED, [], yes(edited="h0"), Counted("approved", "h0", 1)),
        (ASKED, [], yes(seen="h9"), Refused("payload_changed")),
        (ASKED, [], yes(seen=None), Refused("payload_changed")),
        (ASKED, [], yes(seen="h9", edited="h0"), Refused("payload_changed")),
        (ASKED, [], no(), Counted("rejected", "h0", 0)),
        (ASKED, [], no(seen="h0"), Counted("rejected", "h0", 0)),
        (ASKED, [], no(seen="h9"), Refused("payload_changed")),
        (TWO, [], yes(), Counted("pending", "h0", 1)),
        (TWO, ANN_SAID, yes(), Refused("already_voted")),
        (TWO, ANN_SAID, yes(BOB), Counted("approved", "h0", 2)),
        (TWO, ANN_SAID, no(), Counted("rejected", "h0", 1)),
        (TWO, ANN_SAID, no(BOB), Counted("rejected", "h0", 1)),
        (TWO, ANN_SAID, yes(BOB, edited="h1"), Counted("pending", "h1", 1, edits=True)),
        (TWO, ANN_SAID, yes(edited="h1"), Counted("pending", "h1", 1, edits=True)),
        (replace(TWO, payload_hash="h1"), [Vote("ann", True, void=True), Vote("bob", True)], yes(seen="h1"),
         Counted("edited", "h1", 2)),
        (replace(TWO, payload_hash="h1"), [Vote("bob", True)], yes(), Refused("payload_changed")),
        (EDITED, [], yes(seen="h1", edited="h0"), Counted("approved", "h0", 1, edits=True)),
        (EDITED, [], yes(seen="h1"), Counted("edited", "h1", 1)),
    ],
)  # fmt: skip
def test_what_a_word_makes_of_it(asked: Asked, votes: list[Vote], word: Word, verdict: Any) -> None:
    assert judge(asked, votes, word) == verdict


@pytest.mark.parametrize("status", ["approved", "edited", "rejected", "expired", "superseded"])
def test_there_is_no_way_out_of_a_final_state(status: str) -> None:
    for word in (yes(), yes(edited="h1"), yes(seen="h9"), no(), no(seen="h9")):
        assert judge(replace(ASKED, status=status), [], word) == Refused("decided")


@pytest.mark.parametrize(
    ("on_expiry", "escalations", "becomes"),
    [("expire", 0, "expired"), ("reject", 0, "rejected"), ("escalate", 0, "escalated"), ("escalate", 1, "expired")],
)
def test_what_becomes_of_one_whose_time_is_over(on_expiry: str, escalations: int, becomes: str) -> None:
    assert at_expiry(replace(ASKED, on_expiry=on_expiry, escalations=escalations)) == becomes


words = st.builds(
    Word,
    st.sampled_from([ANN, BOB, EVE, caller("sam"), caller("ann", "other"), caller("zoe", "t", set())]),
    st.booleans(),
    st.sampled_from(["h0", "h0", "h1", "h2", None]),
    st.sampled_from([None, None, "h0", "h1", "h2"]),
)


@given(st.integers(1, 4), st.lists(words, max_size=25))
def test_any_history_of_words(quorum: int, history: list[Word]) -> None:
    asked, votes = replace(ASKED, quorum=quorum), list[Vote]()
    ended = 0
    for word in history:
        before = asked
        verdict = judge(asked, votes, word)
        if isinstance(verdict, Refused):
            continue
        assert before.status == "pending", "a final state was left"
        assert barred(before, word.caller) is None
        if verdict.edits:
            votes = [replace(vote, void=True) for vote in votes]
        votes.append(Vote(word.caller.id, word.approve))
        asked = replace(asked, status=verdict.status, payload_hash=verdict.payload_hash)
        ended += asked.status != "pending"
        counting = [vote.caller for vote in votes if vote.approve and not vote.void]
        assert len(counting) == len(set(counting)) <= quorum, "a caller counts once, and the quorum is reached once"
        assert (verdict.status in ("approved", "edited")) == (word.approve and len(counting) == quorum)
        if word.approve:
            assert verdict.votes == len(counting)
            assert word.payload_hash == before.payload_hash, "only what was seen is approved"
        assert (verdict.status == "approved") <= (asked.payload_hash == asked.first_hash)
    assert ended <= 1
