"""What is done about one group, and what follows from how it went."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.deliver import LogEntry
from app.alerts.matching import parse_matcher
from app.alerts.notifiers.alerts import Delivered, Outcome, Permanent, Retryable, Throttled
from app.alerts.outcomes import MAX_BACKOFF_S, After, after_hold, after_send, backoff_s
from app.alerts.records import Alert
from app.alerts.silences import Silence
from app.alerts.steps import Hold, OpenGroup, Send, Surroundings, Wait, digest_of, look, reason_of, same_verdicts
from tests.alerts.groups import NOW, alert, group, receiver, seconds, told

PLAIN = Surroundings()
FORGETS = Surroundings(resend_s=60.0)


def sent(step: object) -> Send:
    assert isinstance(step, Send), step
    return step


def held(step: object) -> Hold:
    assert isinstance(step, Hold), step
    return step


def after(found: OpenGroup, step: Send, outcome: Outcome, around: Surroundings = PLAIN) -> After:
    return after_send(found, step, outcome, receiver(), around, NOW, spread=0.0, failed_after_s=900)


def test_what_fires_is_told_and_whom_it_alarms_is_known_before() -> None:
    one = alert()
    step = sent(look(group(), [one], receiver(), None, PLAIN, NOW))
    assert (step.work, step.reason, step.alerts) == ("flush", "first", (one,))
    assert step.alarmed == {one.fingerprint}
    assert step.news
    assert not step.ends
    assert [(item.sent, item.reason) for item in step.verdicts] == [(True, "first")]


def test_nothing_is_done_before_it_is_due_nor_in_the_pause_after_a_try() -> None:
    later = group(next_flush_at=NOW + seconds(10))
    assert isinstance(look(later, [alert()], receiver(), None, PLAIN, NOW), Wait)
    pausing = group(retry_at=NOW + seconds(10))
    assert isinstance(look(pausing, [alert()], receiver(), None, PLAIN, NOW), Wait)


@pytest.mark.parametrize("field", ["retry_at", "next_flush_at"])
def test_a_time_that_a_clock_left_far_ahead_does_not_count(field: str) -> None:
    found = group(**{field: NOW + seconds(100_000)})
    sent(look(found, [alert()], receiver(), None, PLAIN, NOW))


def test_a_throttle_that_a_clock_left_far_ahead_does_not_count() -> None:
    sent(look(group(), [alert()], receiver(throttled_until=NOW + seconds(100_000)), None, PLAIN, NOW))
    step = held(look(group(), [alert()], receiver(throttled_until=NOW + seconds(60)), None, PLAIN, NOW))
    assert step.retry_at == NOW + seconds(60)
    assert reason_of(step.verdicts) == "throttled"


def test_the_end_that_a_throttle_holds_back_still_finds_its_message() -> None:
    one = alert()
    found = group(receipt="C1/2", alarmed=frozenset({one.fingerprint}))
    throttled = receiver(throttled_until=NOW + seconds(60))
    step = held(look(found, [replace(one, ends_at=NOW)], throttled, told(one), PLAIN, NOW))
    later = after_hold(found, step, throttled, NOW)
    assert (later.ends, later.receipt) == (False, "C1/2")


def test_a_silenced_alert_names_its_silence_and_is_settled_when_it_ended() -> None:
    silence = Silence(uuid4(), (parse_matcher("pool=ops"),), NOW - seconds(5), NOW + seconds(5))
    step = held(look(group(), [alert()], receiver(), None, Surroundings([silence]), NOW))
    assert [(item.reason, item.by) for item in step.verdicts] == [("silenced", str(silence.id))]
    gone = alert(ended=1)
    step = held(look(group(), [gone], receiver(), None, Surroundings([silence]), NOW))
    assert step.settled == {gone.fingerprint}
    assert step.ends


def test_an_acknowledged_group_does_not_repeat_but_tells_news_and_ends() -> None:
    one, two = alert(), alert("latency")
    taken = group(acked_by="ann", acked_until=NOW + seconds(60), alarmed=frozenset({one.fingerprint}))
    old = told(one, ago=20_000)
    step = held(look(taken, [one], receiver(), old, PLAIN, NOW))
    assert [(item.sent, item.reason, item.by) for item in step.verdicts] == [(False, "acknowledged", "ann")]
    news = sent(look(taken, [one, two], receiver(), told(one), PLAIN, NOW))
    assert (news.reason, news.lifts) == ("new_alerts", True)
    over = sent(look(taken, [replace(one, ends_at=NOW)], receiver(), told(one), PLAIN, NOW))
    assert (over.reason, over.lifts, over.ends) == ("resolved", False, True)
    expired = replace(taken, acked_until=NOW)
    assert sent(look(expired, [one], receiver(), old, PLAIN, NOW)).reason == "repeat"


def test_one_that_was_taken_before_it_was_told_is_told_as_taken() -> None:
    taken = group(acked_by="ann", acked_until=NOW + seconds(60))
    step = sent(look(taken, [alert()], receiver(), None, PLAIN, NOW))
    assert not step.lifts


def test_the_receiver_is_told_who_took_it_once_it_knows_of_it() -> None:
    one = alert()
    taken = group(next_flush_at=NOW + seconds(10), acked_by="ann", acked_until=NOW + seconds(60), ack_due=True)
    step = sent(look(taken, [one], receiver(), told(one), PLAIN, NOW))
    assert (step.work, step.reason, step.alerts) == ("acknowledged", "acknowledged", (one,))
    assert after(taken, step, Delivered("r")).ack_told
    assert after(taken, step, Permanent("no")).ack_told, "not tried for ever"
    assert not after(taken, step, Retryable("later")).ack_told
    unknown = held(look(taken, [one], receiver(), None, PLAIN, NOW))
    assert after_hold(taken, unknown, receiver(), NOW).ack_told


def test_a_receiver_that_forgets_is_told_again_of_what_it_knows() -> None:
    one = alert()
    found = group(next_flush_at=NOW + seconds(10), resend_at=NOW)
    step = sent(look(found, [one, alert("latency")], receiver(), told(one), FORGETS, NOW))
    assert (step.work, step.alerts) == ("resend", (one,))
    assert after(found, step, Delivered(), FORGETS).resend_at == NOW + seconds(60)
    first = sent(look(group(), [one], receiver(), None, FORGETS, NOW))
    assert after(group(), first, Delivered(), FORGETS).resend_at == NOW + seconds(60)
    over = replace(one, ends_at=NOW)
    last = sent(look(group(), [over], receiver(), told(one), FORGETS, NOW))
    assert after(group(resend_at=NOW), last, Delivered(), FORGETS).resend_at is None
    nothing = held(look(found, [over], receiver(), told(one), FORGETS, NOW))
    assert after_hold(found, nothing, receiver(), NOW).resend_at is None


def test_a_delivered_notice_is_done_with_and_the_end_of_all_forgets_the_message() -> None:
    one = alert()
    tried = group(notice_id=uuid4(), notice_digest="d", tries=3, tried_since=NOW, refused_digest="x")
    step = sent(look(tried, [one], receiver(), None, PLAIN, NOW))
    found = after(tried, step, Delivered("C1/2", "cut"))
    assert (found.outcome, found.detail, found.receipt, found.told) == ("delivered", "cut", "C1/2", True)
    assert (found.notice_id, found.tries, found.tried_since, found.retry_at, found.refused_digest) == (
        None, 0, None, None, "",
    )  # fmt: skip
    assert found.next_flush_at == NOW + seconds(300)
    ended = sent(look(group(receipt="C1/2"), [replace(one, ends_at=NOW)], receiver(), told(one), PLAIN, NOW))
    over = after(group(receipt="C1/2"), ended, Delivered("C1/2"))
    assert (over.ends, over.receipt) == (True, "")


def test_a_failed_try_stores_nothing_but_when_to_try_again() -> None:
    found = group(notice_id=uuid4(), notice_digest="d", tries=4, tried_since=NOW - seconds(899))
    step = sent(look(found, [alert()], receiver(), None, PLAIN, NOW))
    failed = after(found, step, Retryable("away"))
    assert (failed.outcome, failed.told, failed.failing) == ("retrying", False, "")
    assert failed.retry_at == NOW + seconds(8)
    assert (failed.next_flush_at, failed.flushed, failed.notice_id) == (NOW, False, found.notice_id)
    lasting = after(replace(found, tried_since=NOW - seconds(900)), step, Retryable("away"))
    assert lasting.failing == "away", "it counts as failing, and is tried on"
    assert lasting.retry_at is not None


def test_a_throttled_try_is_none_of_the_receivers_failures() -> None:
    found = group(tries=1)
    step = sent(look(found, [alert()], receiver(), None, PLAIN, NOW))
    paused = after(found, step, Throttled(seconds(100_000), "slow down"))
    assert paused.retry_at == paused.throttled_until == NOW + seconds(3600), "no provider's word counts for longer"
    assert (paused.tries, paused.failing, paused.told, paused.tried_since) == (0, "", False, NOW)
    lasting = after(replace(found, tried_since=NOW - seconds(900)), step, Throttled(seconds(5), "slow down"))
    assert (lasting.failing, lasting.outcome) == ("slow down", "throttled"), "for so long it is a failure"
    assert after(found, step, Throttled(seconds(0), "slow down")).throttled_until == NOW + seconds(1), (
        "it must not spin"
    )


def test_a_pace_of_our_own_holds_up_the_group_and_not_the_receiver() -> None:
    step = sent(look(group(), [alert()], receiver(), None, PLAIN, NOW))
    paced = after(group(), step, Throttled(seconds(3), "one a second", own=True))
    assert (paced.retry_at, paced.throttled_until, paced.outcome) == (NOW + seconds(3), None, "throttled")


def test_what_is_refused_for_good_is_not_sent_again_until_the_receiver_works() -> None:
    one = alert()
    step = sent(look(group(), [one], receiver(), None, PLAIN, NOW))
    refused = after(group(), step, Permanent("no such key"))
    assert (refused.failing, refused.told, refused.refused_digest) == ("no such key", False, step.digest)
    later = group(refused_digest=refused.refused_digest)
    failing = receiver(failed_at=NOW, failed_reason="no such key")
    again = held(look(later, [one], failing, None, PLAIN, NOW))
    assert [(item.sent, item.reason, item.by) for item in again.verdicts] == [(False, "refused", "no such key")]
    sent(look(later, [one], receiver(), None, PLAIN, NOW))
    sent(look(later, [one, alert("latency")], failing, None, PLAIN, NOW))


def test_one_that_ended_before_anybody_could_be_told_is_settled_without_a_word() -> None:
    gone = alert(ended=1)
    tried = group(notice_id=uuid4(), notice_digest="d", tried_since=NOW, alarmed=frozenset({gone.fingerprint}))
    step = held(look(tried, [gone], receiver(), None, PLAIN, NOW))
    assert step.settled == {gone.fingerprint}
    found = after_hold(tried, step, receiver(), NOW)
    assert (found.notice_id, found.tries, found.ends) == (None, 0, True)


def lost(*alerts: Alert, **fields: Any) -> OpenGroup:
    """The first notice was sent; whether it arrived is not known."""
    alarmed = frozenset(alert.fingerprint for alert in alerts)
    return group(notice_id=uuid4(), notice_digest="d", tries=1, tried_since=NOW, alarmed=alarmed, **fields)


@pytest.mark.parametrize("before", [None, told(alert(ended=9)), replace(told(alert()), expires_at=NOW)])
def test_the_end_is_told_where_the_first_notice_may_have_arrived(before: LogEntry | None) -> None:
    gone = alert(ended=1)
    only = frozenset({gone.fingerprint})
    step = sent(look(lost(gone), [gone], receiver(), before, PLAIN, NOW))
    assert (step.reason, step.alerts, step.ends, step.settled) == ("resolved", (gone,), True, only)
    assert [(item.sent, item.reason) for item in step.verdicts] == [(True, "resolved")]
    assert step.entry is not None
    assert (step.entry.firing, step.entry.resolved) == (frozenset(), only)
    assert step.alarmed == only, "and again, should this be lost too"
    done = after(lost(gone), step, Delivered("r"))
    assert (done.ends, done.tries, done.notice_id, done.receipt) == (True, 0, None, "")


def test_the_end_of_a_lost_notice_is_not_told_to_who_does_not_want_it_nor_through_a_silence() -> None:
    gone = alert(ended=1)
    assert held(look(lost(gone), [gone], receiver(send_resolved=False), None, PLAIN, NOW)).ends
    silence = Silence(uuid4(), (parse_matcher("pool=ops"),), NOW - seconds(5), NOW + seconds(5))
    assert held(look(lost(gone), [gone], receiver(), None, Surroundings([silence]), NOW)).ends


def test_the_end_of_a_lost_notice_waits_for_a_receiver_that_takes_nothing_now() -> None:
    gone, throttled = alert(ended=1), receiver(throttled_until=NOW + seconds(60))
    step = held(look(lost(gone), [gone], throttled, None, PLAIN, NOW))
    assert (step.ends, step.settled, reason_of(step.verdicts)) == (False, frozenset(), "throttled")
    later = after_hold(lost(gone), step, throttled, NOW)
    assert (later.ends, later.tries, later.next_flush_at) == (False, 1, NOW + seconds(60))


def test_of_a_notice_that_was_refused_no_end_is_told_but_an_end_that_was_refused_is_kept() -> None:
    gone, failing = alert(ended=1), receiver(failed_at=NOW, failed_reason="no such key")
    assert held(look(lost(gone, refused_digest="d"), [gone], failing, None, PLAIN, NOW)).ends
    digest = digest_of("resolved", [gone])
    kept = replace(lost(gone), notice_digest=digest, refused_digest=digest)
    step = held(look(kept, [gone], failing, None, PLAIN, NOW))
    assert (step.ends, step.settled, reason_of(step.verdicts)) == (False, frozenset(), "refused")
    sent(look(kept, [gone], receiver(), None, PLAIN, NOW))


def test_a_digest_is_of_what_is_said_not_of_values_that_move() -> None:
    one = alert()
    assert digest_of("first", [one]) == digest_of("first", [replace(one, value=3.0, annotations={"summary": "x"})])
    assert digest_of("first", [one]) != digest_of("first", [replace(one, ends_at=NOW)])
    assert digest_of("first", [one]) != digest_of("new_alerts", [one])
    two = alert("latency")
    assert digest_of("first", [one, two]) == digest_of("first", [two, one])


def test_flushes_that_come_out_the_same_are_recognised() -> None:
    step = held(look(group(), [alert()], receiver(throttled_until=NOW + seconds(60)), None, PLAIN, NOW))
    stored = [{"fingerprint": v.fingerprint, "sent": v.sent, "reason": v.reason, "by": "before"} for v in step.verdicts]
    assert same_verdicts(stored, step.verdicts)
    assert not same_verdicts([], step.verdicts)


@given(st.integers(0, 10_000), st.floats(-1, 1))
def test_a_pause_is_never_longer_than_five_minutes_nor_none(tries: int, spread: float) -> None:
    assert 0.5 <= backoff_s(tries, spread) <= MAX_BACKOFF_S


@given(st.integers(1, 20))
def test_pauses_double(tries: int) -> None:
    assert backoff_s(tries + 1, 0) == min(MAX_BACKOFF_S, 2 * backoff_s(tries, 0))
