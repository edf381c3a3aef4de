"""Every click is answered, and the right ones decide."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.alerts.clicks import BadPayload, interaction, read
from app.alerts.question import APPROVE, REJECT
from app.auth.callers import Caller
from tests.alerts.room import Room, room_of
from tests.api.verbs import refused
from tests.core.database import HandClock
from tests.support.service import Backing
from tests.support.slack_server import Posted, SlackServer, signed
from tests.support.waiting import until_async

SOME = "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10"


async def test_an_approval_by_a_mapped_user_counts_as_their_keys(room: Room) -> None:
    key_id = await room.person("U1ANN")
    approval_id, message = await room.posted()
    answer = await room.press(message, APPROVE, "U1ANN")
    assert (answer.status_code, answer.content) == (200, b"")
    assert await room.told() == ["You decided: shell is approved."]
    assert room.slack.replies[0]["response_type"] == "ephemeral"
    [decided] = room.tasks.decided_
    assert (decided.approval_id, decided.status, decided.decided_by) == (approval_id, "approved", key_id)
    assert decided.args == '{"cmd":"ls"}'
    assert await room.sql("SELECT decided_from FROM approvals WHERE id = $1", approval_id) == "slack:U1ANN"
    assert room.wakes, "the loop is asked to update the message"
    await room.notices.tick()
    assert "*Approved* by <@U1ANN>" in message.seen()


async def test_a_rejection(room: Room) -> None:
    await room.person("U1ANN")
    approval_id, message = await room.posted()
    assert (await room.press(message, REJECT, "U1ANN")).status_code == 200
    assert await room.told() == ["You decided: shell is rejected."]
    assert await room.status(approval_id) == "rejected"


async def test_an_unmapped_user_is_told_so_and_nothing_happens(room: Room) -> None:
    approval_id, message = await room.posted()
    assert (await room.press(message, APPROVE, "U0NOBODY")).status_code == 200
    [text] = await room.told()
    assert "you are not mapped" in text
    assert "/v1/slack/users/U0NOBODY" in text
    assert await room.status(approval_id) == "pending"


async def test_a_user_of_another_tenant_is_unmapped_here(room: Room) -> None:
    await room.person("U1ANN", tenant="elsewhere")
    approval_id, message = await room.posted()
    await room.press(message, APPROVE, "U1ANN")
    assert "you are not mapped" in (await room.told())[0]
    assert await room.status(approval_id) == "pending"


@pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now()", "tenant = 'elsewhere'"])
async def test_a_key_that_ended_counts_no_more(room: Room, end: str) -> None:
    key_id = await room.person("U1ANN")
    approval_id, message = await room.posted()
    await room.sql(f"UPDATE api_keys SET {end} WHERE id = $1", key_id)
    await room.press(message, APPROVE, "U1ANN")
    assert "was revoked or has expired" in (await room.told())[0]
    assert await room.status(approval_id) == "pending"


async def test_scope_group_and_four_eyes_hold_in_slack_too(room: Room) -> None:
    await room.person("U1SCOPE", "tasks:read")
    await room.person("U2GROUP", "approvals:decide", groups=["dev"])
    own = await room.person("U3OWN", "admin", groups=["sre"])
    approval_id, message = await room.posted(groups=("sre",), submitted_by=own)
    for user in ("U1SCOPE", "U2GROUP", "U3OWN"):
        assert (await room.press(message, APPROVE, user)).status_code == 200
    told = await room.told(3)
    assert told[0] == "Not counted: This needs the scope `approvals:decide`."
    assert told[1] == "Not counted: Only these groups may decide: sre."
    assert told[2].startswith("Not counted: Who submitted the task may not decide")
    assert await room.status(approval_id) == "pending"


async def test_the_late_and_the_doubled_click_are_told_how_it_ended(room: Room) -> None:
    await room.person("U1ANN")
    await room.person("U2BOB")
    _, message = await room.posted()
    await room.press(message, APPROVE, "U1ANN")
    await room.told(1)
    await room.press(message, APPROVE, "U1ANN")
    await room.told(2)
    await room.press(message, REJECT, "U2BOB")
    told = await room.told(3)
    assert told[1] == "You have decided this already: it is approved."
    assert told[2] == "Too late: this was already approved by u1ann."
    assert len(room.tasks.decided_) == 1


async def test_a_replayed_request_decides_nothing_twice(room: Room) -> None:
    await room.person("U1ANN")
    _, message = await room.posted(quorum=2)
    body, headers = room.slack.press(message, APPROVE, "U1ANN", at=room.now)
    for _ in range(3):
        assert (await room.send(body, headers)).status_code == 200
    told = sorted(await room.told(3))
    assert sum("1 of 2" in text for text in told) == 1
    assert sum("You approved this already" in text for text in told) == 2
    assert await room.sql("SELECT count(*) FROM approval_votes") == 1


async def test_of_fifty_clicks_at_once_one_decides_and_all_are_answered(room: Room) -> None:
    users = [f"U{n}" for n in range(50)]
    for user in users:
        await room.person(user)
    approval_id, message = await room.posted()
    answers = await asyncio.gather(
        *(room.press(message, APPROVE if n % 2 else REJECT, user) for n, user in enumerate(users))
    )
    assert {answer.status_code for answer in answers} == {200}
    told = await room.told(50)
    assert sum(text.startswith("You decided") for text in told) == 1
    assert sum(text.startswith("Too late: this was already") for text in told) == 49
    assert len(room.tasks.decided_) == 1
    assert await room.status(approval_id) in ("approved", "rejected")


async def test_a_message_that_shows_an_older_payload_does_not_approve_the_new_one(room: Room) -> None:
    await room.person("U1ANN")
    approval_id, message = await room.posted(quorum=2)
    old = Posted(message.channel, message.ts, message.text, message.blocks)
    ann = Caller("ann", "default", frozenset({"approvals:decide"}))
    shown = await room.sql("SELECT payload_hash FROM approvals WHERE id = $1", approval_id)
    await room.approvals.decide(ann, approval_id, approve=True, payload_hash=shown, args={"cmd": "rm"}, source="api")
    for action in (APPROVE, REJECT):
        await room.press(old, action, "U1ANN")
    assert all("the arguments were changed" in text for text in await room.told(2))
    assert await room.status(approval_id) == "pending"


async def test_expired_superseded_and_deleted_approvals_answer_too(room: Room) -> None:
    await room.person("U1ANN")
    expired, first = await room.posted()
    await room.sql("UPDATE approvals SET expires_at = now() WHERE id = $1", expired)
    await room.press(first, APPROVE, "U1ANN")
    await room.told(1)
    over, second = await room.posted()
    await room.supersede(over)
    await room.press(second, APPROVE, "U1ANN")
    await room.told(2)
    gone, third = await room.posted()
    await room.sql("DELETE FROM approvals WHERE id = $1", gone)
    await room.press(third, APPROVE, "U1ANN")
    told = await room.told(3)
    assert told == [
        "Too late: this approval has expired.",
        "Too late: the task went on or ended, so this approval is no longer needed.",
        "This approval no longer exists.",
    ]


async def test_a_message_that_a_crash_made_us_forget_is_updated_when_it_is_clicked(room: Room) -> None:
    await room.person("U1ANN")
    _, first = await room.posted()
    await room.sql("UPDATE approval_notices SET message_id = NULL, shown = ''")
    await room.notices.tick()
    assert len(room.slack.posted) == 2
    await room.press(first, APPROVE, "U1ANN")
    await room.told()
    await room.notices.tick()

    async def both_ended() -> bool:
        return all(message.buttons() == {} for message in room.slack.posted)

    await until_async(both_ended, "both messages show the end")


class Slow:
    """A decision that takes until `go`, then is `ending`."""

    def __init__(self, ending: Exception | None = None) -> None:
        self.go, self.begun, self.ending = asyncio.Event(), asyncio.Event(), ending

    async def __call__(self, *_: Any, **__: Any) -> object:
        self.begun.set()
        await self.go.wait()
        if self.ending is not None:
            raise self.ending
        return None


async def test_slack_is_answered_in_time_and_the_person_when_it_is_decided(
    backing: Backing, slack: SlackServer, clock: HandClock
) -> None:
    slow = Slow()
    async with room_of(backing.database_url, slack, clock, decide=slow, answer_s=0.05) as room:
        await room.person("U1ANN")
        _, message = await room.posted()
        assert (await room.press(message, APPROVE, "U1ANN")).status_code == 200
        async with asyncio.timeout(10):
            await slow.begun.wait()
        assert slack.replies == []
        slow.go.set()
        assert len(await room.told()) == 1


@pytest.mark.parametrize("ending", [OSError("database away"), RuntimeError("a bug")])
async def test_a_decision_that_failed_is_told_as_one_to_try_again(
    backing: Backing, slack: SlackServer, clock: HandClock, ending: Exception
) -> None:
    slow = Slow(ending)
    slow.go.set()
    async with room_of(backing.database_url, slack, clock, decide=slow) as room:
        await room.person("U1ANN")
        _, message = await room.posted()
        assert (await room.press(message, APPROVE, "U1ANN")).status_code == 200
        assert await room.told() == ["This could not be recorded just now. Please click again in a moment."]


async def test_a_foreign_response_url_is_never_called_and_the_click_still_counts(room: Room) -> None:
    await room.person("U1ANN")
    approval_id, message = await room.posted()
    payload = room.slack.interaction(message, APPROVE, message.buttons()[APPROVE]["value"], "U1ANN")
    payload["response_url"] = "http://169.254.169.254/latest/meta-data"
    answer = await room.send(*signed(payload, at=room.now))
    assert answer.status_code == 200
    assert await room.status(approval_id) == "approved"
    await room.clicks.close()
    assert room.slack.replies == []


async def test_a_reply_is_tried_again_when_slack_stumbles(room: Room) -> None:
    _, message = await room.posted()
    room.slack.reply_faults.extend([(500, {}, {}), (429, {}, {"Retry-After": "1"})])
    await room.press(message, APPROVE, "U0NOBODY")
    assert len(await room.told()) == 1


@pytest.mark.parametrize("kind", ["view_submission", "message_action", "shortcut", "something_new"])
async def test_other_interactions_are_taken_and_ignored(room: Room, kind: str) -> None:
    answer = await room.send(*signed({"type": kind, "user": {"id": "U1"}}, at=room.now))
    assert (answer.status_code, answer.content) == (200, b"")


async def test_buttons_of_others_are_ignored(room: Room) -> None:
    payload = room.slack.interaction(Posted("C", "1", "", []), "other.button", "x", "U1ANN")
    assert (await room.send(*signed(payload, at=room.now))).status_code == 200
    assert room.slack.replies == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"payload={",
        b"payload=[]",
        b"payload=7",
        b"payload={}",
        b"other=1",
        b"\xff\xfe",
        b"payload=%7B%22type%22%3A%22block_actions%22%7D",
        b"&".join(b"a=1" for _ in range(20)),
    ],
)
async def test_a_signed_body_that_is_no_interaction_is_refused(room: Room, body: bytes) -> None:
    code = "slack_signature_invalid" if body == b"\xff\xfe" else "slack_payload_invalid"
    refused(await room.send(*signed(body, at=room.now)), 401 if body == b"\xff\xfe" else 400, code)


@pytest.mark.parametrize("value", ["", "x", SOME, f"{SOME}:", f"{SOME}:{'a' * 63}", f"no:{'a' * 64}"])
def test_a_value_that_no_button_of_ours_has_is_refused(value: str) -> None:
    payload = SlackServer().interaction(Posted("C", "1", "", []), APPROVE, value, "U1")
    found = interaction(signed(payload)[0])
    assert found is not None
    with pytest.raises(BadPayload):
        read(found)


@pytest.mark.parametrize("user", ["", "u1", "U1\x00", "U1> <!here", "X12", "U" * 40])
def test_a_user_id_that_slack_does_not_give_is_refused(user: str) -> None:
    payload = SlackServer().interaction(Posted("C", "1", "", []), APPROVE, f"{SOME}:{'a' * 64}", user)
    with pytest.raises(BadPayload):
        interaction(signed(payload)[0])
