"""Matchers: what they mean, how they are written, and what is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.alerts.matching import (
    MAX_MATCHERS,
    MAX_TEXT,
    MAX_VALUE,
    BadMatcher,
    all_match,
    check,
    check_selective,
    matches,
    parse_matcher,
    parse_matchers,
    text_of,
)
from app.alerts.records import Matcher, MatchOp

OPS: tuple[MatchOp, ...] = ("=", "!=", "=~", "!~")
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain = st.text("ab.*|+n1", max_size=6)


@pytest.mark.parametrize(
    ("op", "value", "label", "expected"),
    [
        ("=", "db", "db", True),
        ("=", "db", "db1", False),
        ("=", "", None, True),
        ("=", "", "", True),
        ("=", "db", None, False),
        ("!=", "db", None, True),
        ("!=", "", None, False),
        ("=~", "db", "db1", False),
        ("=~", "db", "1db", False),
        ("=~", "db.", "db1", True),
        ("=~", "a|bc", "bc", True),
        ("=~", "a|bc", "ac", False),
        ("=~", "", None, True),
        ("=~", ".*", None, True),
        ("=~", ".+", None, False),
        ("=~", "^db$", "db", True),
        ("=~", "db$", "db\n", False),
        ("=~", "a.b", "a\nb", False),
        ("=~", "(?s)a.b", "a\nb", True),
        ("=~", "(?i)DB", "db", True),
        ("=~", ".", "é", True),
        ("!~", "db", "db1", True),
        ("!~", "db.", "db1", False),
        ("!~", ".+", None, True),
        ("=~", ".*", "\ud800", False),
        ("!~", ".*", "\ud800", True),
    ],
)
def test_a_condition_on_one_label(op: MatchOp, value: str, label: str | None, expected: bool) -> None:
    assert matches(Matcher("job", op, value), {} if label is None else {"job": label}) is expected


@given(plain, st.none() | plain, st.sampled_from(["a", "a|b", "n1.*", "", "[ab]+"]))
def test_the_negated_operator_is_the_opposite(value: str, label: str | None, pattern: str) -> None:
    labels = {} if label is None else {"job": label}
    assert matches(Matcher("job", "=", value), labels) != matches(Matcher("job", "!=", value), labels)
    assert matches(Matcher("job", "=~", pattern), labels) != matches(Matcher("job", "!~", pattern), labels)


def test_all_conditions_must_be_met() -> None:
    both = parse_matchers('job="db", zone!="z1"')
    assert all_match(both, {"job": "db"})
    assert not all_match(both, {"job": "db", "zone": "z1"})
    assert not all_match(both, {"zone": "z2"})
    assert all_match((), {"job": "db"})


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)(.*)(.*)(.*)x", "(?:a?){60}a{60}"])
def test_no_pattern_takes_long(pattern: str) -> None:
    begin = time.process_time()
    matches(Matcher("job", "=~", pattern), {"job": "a" * 50_000 + "!"})
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    ("matcher", "says"),
    [
        (Matcher("1job", "=", "db"), "no name of a label"),
        (Matcher("", "=", "db"), "no name of a label"),
        (Matcher("a:b", "=", "db"), "no name of a label"),
        (Matcher("job\n", "=", "db"), "no name of a label"),
        (Matcher("job", "==", "db"), "none of"),  # type: ignore[arg-type]
        (Matcher("job", "=", "x" * (MAX_VALUE + 1)), "longer than"),
        (Matcher("job", "=", "\ud800"), "no text"),
        (Matcher("job", "=~", "("), "refused"),
        (Matcher("job", "=~", "a)|(b"), "refused"),
        (Matcher("job", "!~", r"(a)\1"), "refused"),
        (Matcher("job", "=~", "(?=a)"), "refused"),
        (Matcher("job", "=~", "((a{100}){100}){100}"), "refused"),
        (Matcher("job", "=~", "(" * 1_000), "refused"),
    ],
)
def test_what_is_refused(matcher: Matcher, says: str) -> None:
    with pytest.raises(BadMatcher, match=says):
        check([matcher])


def test_there_is_an_end_to_how_many() -> None:
    one = Matcher("job", "=", "db")
    assert check([one] * MAX_MATCHERS)
    with pytest.raises(BadMatcher, match="at most"):
        check([one] * (MAX_MATCHERS + 1))
    with pytest.raises(BadMatcher, match="characters long"):
        parse_matchers("a=" + "x" * MAX_TEXT)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("", False),
        ('job=""', False),
        ('job=~".*"', False),
        ('job!="db"', False),
        ('job!~"db"', False),
        ('job=~"db|", zone=""', False),
        ('job="db"', True),
        ('job!=""', True),
        ('job=~".+"', True),
        ('job="", zone="z1"', True),
    ],
)
def test_a_set_that_takes_in_everything(text: str, taken: bool) -> None:
    if taken:
        assert check_selective(parse_matchers(text)) == parse_matchers(text)
    else:
        with pytest.raises(BadMatcher):
            check_selective(parse_matchers(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('job="db"', [("job", "=", "db")]),
        ("job=db", [("job", "=", "db")]),
        ("  job  !=  db  ", [("job", "!=", "db")]),
        ('{job="db",zone=~"z.",}', [("job", "=", "db"), ("zone", "=~", "z.")]),
        ('job="a, b", zone!~"c"', [("job", "=", "a, b"), ("zone", "!~", "c")]),
        (r'job="say \"hi\", \\ and \n, not \d"', [("job", "=", 'say "hi", \\ and \n, not \\d')]),
        ("job=", [("job", "=", "")]),
        ('job=""', [("job", "=", "")]),
        ("a=,b=", [("a", "=", ""), ("b", "=", "")]),
        ("job==db", [("job", "=", "=db")]),
        ('job="é{}"', [("job", "=", "é{}")]),
        ("{}", []),
        ("", []),
    ],
)
def test_text_that_is_read(text: str, expected: list[tuple[str, MatchOp, str]]) -> None:
    assert parse_matchers(text) == tuple(Matcher(*item) for item in expected)


@pytest.mark.parametrize(
    "text",
    ["job", "=db", 'job="db', 'job=db"', 'job="d"b"', 'job="db" zone="z"', ",job=db", "job=db,,a=b", "1a=b", "{job=db"],
)
def test_text_that_is_refused(text: str) -> None:
    with pytest.raises(BadMatcher):
        parse_matchers(text)


def test_one_matcher_is_one() -> None:
    assert parse_matcher('job!~"db"') == Matcher("job", "!~", "db")
    for text in ("", "a=b,c=d"):
        with pytest.raises(BadMatcher, match="one matcher"):
            parse_matcher(text)


@given(st.lists(st.builds(Matcher, names, st.sampled_from(["=", "!="]), texts), max_size=5))
def test_what_is_written_is_read_again(matchers: list[Matcher]) -> None:
    assert parse_matchers(", ".join(map(text_of, matchers))) == tuple(matchers)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_matchers(text)
    except BadMatcher:
        return
    assert parse_matchers(",".join(map(text_of, found))) == found
