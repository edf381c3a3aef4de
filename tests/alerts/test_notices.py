"""Approvals come to Slack, and their messages tell the truth until it is final."""

from __future__ import annotations

import asyncio
from uuid import UUID

from app.alerts.approvals import BATCH, ApprovalNotices
from app.alerts.directory import EVERY_POOL, Directory
from app.alerts.notifiers.blocks import CUT
from app.alerts.question import APPROVE, REJECT
from app.auth.callers import Caller
from tests.alerts.room import Room
from tests.support.slack_server import rate_limited, refused

ANN = Caller("ann", "default", frozenset({"approvals:decide"}))
BOB = Caller("bob", "default", frozenset({"approvals:decide"}))


async def decide(room: Room, approval_id: UUID, caller: Caller = ANN, **fields: object) -> None:
    """One word by the API."""
    shown = await room.sql("SELECT payload_hash FROM approvals WHERE id = $1", approval_id)
    values = {"approve": True, "payload_hash": shown, "source": "api", **fields}
    await room.approvals.decide(caller, approval_id, **values)  # type: ignore[arg-type]


async def test_a_pending_approval_is_posted_once(room: Room) -> None:
    approval_id, message = await room.posted("shell", {"cmd": "rm <tmp>"}, risk="high", groups=("sre",))
    for _ in range(3):
        await room.notices.tick()
    assert len(room.slack.posted) == 1
    assert message.channel == "C0APPROVALS"
    assert list(message.buttons()) == [APPROVE, REJECT]
    shown = message.seen()
    for part in ("shell", '"cmd": "rm <tmp>"', "high", "approvals:decide, group sre", "ops", "submitter0"):
        assert part in shown
    row = await room.notice(approval_id)
    assert (row["state"], row["message_id"], row["tries"]) == ("pending", f"{message.channel}/{message.ts}", 0)


async def test_the_message_shows_the_outcome_and_then_rests(room: Room) -> None:
    approval_id, message = await room.posted()
    await decide(room, approval_id, source="slack:U77", reason="go <on>")
    await room.notices.tick()
    assert message.buttons() == {}
    assert "*Approved* by <@U77>" in message.seen()
    assert "go &lt;on&gt;" in message.seen()
    row = await room.notice(approval_id)
    assert (row["state"], row["shown"]) == ("sent", "approved")
    await room.notices.tick()
    assert message.versions == 2


async def test_every_end_is_told_apart(room: Room) -> None:
    ends = {}
    for word in ("rejected", "expired", "superseded", "edited"):
        approval_id, ends[word] = await room.posted()
        if word == "rejected":
            await decide(room, approval_id, approve=False)
        elif word == "expired":
            await room.sql("UPDATE approvals SET expires_at = now() WHERE id = $1", approval_id)
            await room.approvals.expire_due(10)
        elif word == "superseded":
            await room.supersede(approval_id)
        else:
            await decide(room, approval_id, args={"cmd": "ls -l"})
    await room.notices.tick()
    assert "*Rejected* by ann" in ends["rejected"].seen()
    assert "*Expired without a decision* by policy" in ends["expired"].seen()
    assert "No longer needed" in ends["superseded"].seen()
    assert "*Approved with changed arguments* by ann" in ends["edited"].seen()
    assert '"cmd": "ls -l"' in ends["edited"].seen()
    assert all(message.buttons() == {} for message in ends.values())


async def test_votes_and_edits_are_shown_while_it_is_pending(room: Room) -> None:
    approval_id, message = await room.posted(quorum=3)
    first = message.buttons()[APPROVE]["value"]
    assert "0 of 3" in message.seen()
    await decide(room, approval_id)
    await room.notices.tick()
    assert "1 of 3" in message.seen()
    await decide(room, approval_id, BOB, args={"cmd": "pwd"})
    await room.notices.tick()
    assert "1 of 3" in message.seen()
    assert '"cmd": "pwd"' in message.seen()
    assert "edited since" in message.seen()
    assert message.buttons()[APPROVE]["value"] != first, "a click is for what is shown now"


async def test_an_escalation_is_shown(room: Room) -> None:
    approval_id, message = await room.posted(on_expiry="escalate", escalate_to=("managers",))
    await room.sql("UPDATE approvals SET expires_at = now() WHERE id = $1", approval_id)
    await room.approvals.expire_due(10)
    await room.notices.tick()
    assert "*Escalated to*\nmanagers" in message.seen()
    assert APPROVE in message.buttons()


async def test_arguments_that_cannot_be_seen_whole_are_not_approved_here(room: Room) -> None:
    approval_id, message = await room.posted(args={"cmd": "x" * 5000})
    assert list(message.buttons()) == [REJECT]
    assert CUT in message.seen()
    assert f"yard approvals show {approval_id}" in message.seen()


async def test_arguments_of_a_megabyte_are_posted_too(room: Room) -> None:
    _, message = await room.posted(args={"log": "\u202e" * 300_000})
    assert list(message.buttons()) == [REJECT]


async def test_channels_by_pool_then_tenant_then_service(room: Room) -> None:
    room.slack.channels |= {"C1POOL": "C1POOL", "C2TENANT": "C2TENANT"}
    directory = Directory(room.db)
    await room.sql("INSERT INTO pools (name) SELECT 'ops' WHERE NOT EXISTS (SELECT FROM pools WHERE name = 'ops')")
    await directory.put_channel("default", "ops", "C1POOL")
    await directory.put_channel("default", EVERY_POOL, "C2TENANT")
    assert (await room.posted(pool="ops"))[1].channel == "C1POOL"
    assert (await room.posted(pool="others"))[1].channel == "C2TENANT"
    assert (await room.posted(pool="ops", tenant="elsewhere"))[1].channel == "C0APPROVALS"


async def test_slack_down_then_back(room: Room) -> None:
    approval_id = await room.ask()
    await room.slack.stop()
    for tries in (1, 2, 3):
        await room.notices.tick()
        row = await room.notice(approval_id)
        assert (row["state"], row["message_id"], row["tries"]) == ("pending", None, tries)
        assert row["error"].startswith("Slack cannot be reached")
        await room.due()
    await room.slack.start()
    await room.notices.tick()
    assert len(room.slack.posted) == 1
    assert (await room.notice(approval_id))["error"] == ""


async def test_what_failed_waits_its_backoff(room: Room) -> None:
    approval_id = await room.ask()
    room.slack.faults.extend([(500, "<html>oops</html>", {}), (200, "not json", {}), (200, {}, {})])
    await room.notices.tick()
    await room.notices.tick()
    assert len(room.slack.calls) == 1, "not due yet"
    waits = []
    for _ in range(3):
        waits.append(
            await room.sql("SELECT extract(epoch FROM due_at - now())::float8 FROM approval_notices WHERE true")
        )
        await room.due()
        await room.notices.tick()
    assert 0.5 < waits[0] < 1.2 < waits[1] < 2.4 < waits[2] < 4.5
    assert len(room.slack.posted) == 1
    assert (await room.notice(approval_id))["tries"] == 0


async def test_a_rate_limit_stops_all_sending_for_as_long_as_slack_says(room: Room) -> None:
    for _ in range(6):
        await room.ask()
    room.slack.faults.append(rate_limited(30))
    await room.notices.tick()
    sent, calls = len(room.slack.posted), len(room.slack.calls)
    assert calls <= 4, "those that were under way, and none after"
    await room.due()
    room.clock.forward(29)
    await room.notices.tick()
    assert len(room.slack.calls) == calls
    room.clock.forward(2)
    await room.notices.tick()
    assert len(room.slack.posted) == 6
    assert sent == calls - 1


async def test_a_permanent_refusal_ends_it_until_the_channel_is_put_again(room: Room) -> None:
    directory, channel = Directory(room.db), "C0OPS"
    await directory.put_channel("default", EVERY_POOL, channel)
    approval_id = await room.ask()
    room.slack.faults.append(refused("is_archived"))
    for _ in range(3):
        await room.notices.tick()
    row = await room.notice(approval_id)
    assert (row["state"], row["error"], len(room.slack.calls)) == ("failed", "Slack answered 200 is_archived", 1)
    await directory.put_channel("default", EVERY_POOL, channel)
    await room.notices.tick()
    assert [message.channel for message in room.slack.posted] == [channel]


async def test_another_channel_takes_what_the_first_refused(room: Room) -> None:
    approval_id = await room.ask()
    room.slack.faults.append(refused("is_archived"))
    await room.notices.tick()
    await Directory(room.db).put_channel("default", EVERY_POOL, "C0OPS")
    await room.notices.tick()
    assert [message.channel for message in room.slack.posted] == ["C0OPS"]
    assert await room.sql("SELECT count(*) FROM approval_notices WHERE approval_id = $1", approval_id) == 2


async def test_a_token_or_an_invitation_that_comes_later_is_enough(room: Room) -> None:
    await room.ask()
    room.slack.faults.extend([refused("invalid_auth"), refused("not_in_channel"), refused("channel_not_found")])
    for _ in range(4):
        await room.notices.tick()
        await room.due()
    assert len(room.slack.posted) == 1


async def test_what_was_decided_before_it_was_posted_is_not_posted(room: Room) -> None:
    approval_id = await room.ask()
    room.slack.faults.append((500, {}, {}))
    await room.notices.tick()
    await decide(room, approval_id)
    await room.due()
    await room.notices.tick()
    row = await room.notice(approval_id)
    assert (row["state"], row["error"]) == ("failed", "approved before it was posted")
    assert room.slack.posted == []


async def test_a_crash_between_slack_and_the_note_posts_it_again(room: Room) -> None:
    approval_id, _ = await room.posted()
    await room.sql("UPDATE approval_notices SET message_id = NULL, shown = '', due_at = now() + interval '30 s'")
    await room.notices.tick()
    assert len(room.slack.posted) == 1, "the lease of the one that died still runs"
    await room.due()
    await room.notices.tick()
    assert len(room.slack.posted) == 2
    assert (await room.notice(approval_id))["message_id"].endswith(room.slack.posted[1].ts)


async def test_several_managers_post_each_once(room: Room) -> None:
    for _ in range(30):
        await room.ask()
    others = [ApprovalNotices(room.db, room.clock, room.notifier, room.settings) for _ in range(4)]
    for _ in range(4):
        await asyncio.gather(*(notices.tick() for notices in (room.notices, *others)))
    assert len(room.slack.posted) == 30
    assert await room.sql("SELECT count(*) FROM approval_notices WHERE message_id IS NOT NULL") == 30


async def test_a_full_pass_is_followed_by_another_at_once(room: Room) -> None:
    for _ in range(BATCH + 1):
        await room.ask()
    assert await room.notices.tick() == 0.0
    assert await room.notices.tick() == room.settings.interval_s
    assert len(room.slack.posted) == BATCH + 1


async def test_without_a_channel_nothing_is_noted_and_one_that_comes_later_is_used(room: Room) -> None:
    silent = ApprovalNotices(
        room.db, room.clock, room.notifier, room.settings.model_copy(update={"channel": ""})
    )  # fmt: skip
    await room.ask()
    await silent.tick()
    assert await room.sql("SELECT count(*) FROM approval_notices") == 0
    await Directory(room.db).put_channel("default", EVERY_POOL, "C0OPS")
    await silent.tick()
    assert len(room.slack.posted) == 1
