"""Messages within Slack's limits, as Slack itself would judge them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.alerts.notifiers.base import Action, Confirm, Message, Outcome, Text
from app.alerts.notifiers.blocks import CUT, Rendered, escape, fit, render, size
from tests.support.slack_limits import block_problem
from tests.support.slack_server import Posted

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHOLE = Action("approve", "Approve", "v", "primary", Confirm("Sure?", "Really?", "Yes", "No"), needs_whole=True)
ANY = Action("reject", "Reject", "v", "danger")
NASTY = st.text(alphabet=st.sampled_from('a&<>`*\n\u202e😀"\\ '), max_size=4000)


def posted(rendered: Rendered) -> Posted:
    assert block_problem({"text": rendered.text, "blocks": rendered.blocks}) is None
    return Posted("C", "1", rendered.text, rendered.blocks)


def test_a_message_that_fits_is_shown_whole() -> None:
    message = Message(
        "Title", (("Pool", "a<b"), ("Since", AT)), (Text("one & two"), Text("x <= y", code=True)), (WHOLE, ANY)
    )
    rendered = render(message)
    shown = posted(rendered)
    assert not rendered.cut
    assert list(shown.buttons()) == ["approve", "reject"]
    assert "*Pool*\na&lt;b" in shown.seen()
    assert "one &amp; two" in shown.seen()
    assert "\nx <= y" in shown.seen(), "code is literal"
    assert f"<!date^{int(AT.timestamp())}^" in shown.seen()
    assert CUT not in shown.seen()


@pytest.mark.parametrize(
    "message",
    [
        Message("t" * 151, actions=(WHOLE, ANY)),
        Message("t", (("f", "&" * 500),), actions=(WHOLE, ANY)),
        Message("t", texts=(Text("x" * 3001),), actions=(WHOLE, ANY)),
        Message("t", texts=(Text("x" * 3001, code=True),), actions=(WHOLE, ANY)),
        Message("t", texts=(Text("😀" * 1501, code=True),), actions=(WHOLE, ANY)),
        Message("t", texts=(Text('"' * 2999, code=True),) * 3, actions=(WHOLE, ANY)),
        Message("t", texts=(Text("p"),) * 60, actions=(WHOLE, ANY)),
    ],
)  # fmt: skip
def test_a_message_that_is_cut_says_so_and_offers_only_what_needs_no_more(message: Message) -> None:
    rendered = render(
        Message(message.title, message.fields, message.texts, message.actions, elsewhere="Read it there.")
    )
    shown = posted(rendered)
    assert rendered.cut
    assert list(shown.buttons()) == ["reject"]
    assert f"{CUT} Read it there." in shown.seen()
    assert "…" in shown.seen() or len(message.texts) > 50


def test_an_outcome_takes_the_buttons_away_and_names_the_person() -> None:
    outcome = Outcome("Approved", by="key", source="slack:U123", at=AT, reason="fine & <good>")
    shown = posted(render(Message("t", actions=(WHOLE, ANY), outcome=outcome)))
    assert shown.buttons() == {}
    assert "*Approved* by <@U123>" in shown.seen()
    assert "fine &amp; &lt;good&gt;" in shown.seen()


@pytest.mark.parametrize("source", ["", "api 10.0.0.1", "slack:U1> <!channel", "slack:", "slack:u123"])
def test_a_source_that_is_no_slack_user_is_never_a_mention(source: str) -> None:
    shown = posted(render(Message("t", outcome=Outcome("Approved", by="<!here> ann", source=source))))
    assert "*Approved* by &lt;!here&gt; ann" in shown.seen()
    assert "<@" not in shown.seen()


def test_three_backticks_do_not_end_the_code() -> None:
    shown = posted(render(Message("t", texts=(Text("``` *Approved by the CTO* <!channel>", code=True),))))
    code = next(block for block in shown.blocks if block["type"] == "rich_text")
    assert code["elements"][0]["type"] == "rich_text_preformatted"
    assert code["elements"][0]["elements"] == [{"type": "text", "text": "``` *Approved by the CTO* <!channel>"}]


def test_a_button_that_could_not_come_back_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than Slack's limit"):
        render(Message("t", actions=(Action("a", "A", "v" * 2001),)))


@settings(max_examples=150, deadline=None)
@given(
    title=NASTY,
    fields=st.lists(st.tuples(NASTY, NASTY), max_size=60),
    texts=st.lists(st.builds(Text, NASTY, st.booleans()), max_size=60),
    ended=st.none() | st.builds(Outcome, NASTY, NASTY, NASTY, st.just(AT), NASTY),
)
def test_any_message_is_one_that_slack_takes(
    title: str, fields: list[tuple[str, str]], texts: list[Text], ended: Outcome | None
) -> None:
    message = Message(title, tuple(fields), tuple(texts), (WHOLE, ANY), ended, elsewhere=title)
    rendered = render(message)
    shown = posted(rendered)
    assert ("approve" in shown.buttons()) == (ended is None and not rendered.cut)
    if not rendered.cut:
        assert all(text.text in shown.seen() for text in texts if text.code)


@given(text=NASTY, limit=st.integers(1, 200))
def test_what_is_cut_keeps_its_limit_and_its_entities(text: str, limit: int) -> None:
    found, cut = fit(text, limit, escape)
    assert size(found) <= limit
    assert cut == (size(escape(text)) > limit)
    kept: Any = found.removesuffix("…") if cut else found
    assert "<" not in kept
    assert escape(text).startswith(kept)
