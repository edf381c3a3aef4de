"""Objectives for tests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from app.slo.objective import DAY_S, Kind, Objective, Scope, WindowSpec

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
TEXTS = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C"]), min_size=1, max_size=30
)


def objective(kind: Kind = "availability", target: str = "0.999", **fields: Any) -> Objective:
    """A valid one of its kind."""
    base: dict[str, Any] = {
        "availability": {},
        "latency": {"threshold_s": Decimal(30)},
        "accuracy": {"evaluator": "rubric", "version": "3"},
    }[kind]
    return Objective(**{"name": "o", "kind": kind, "target": Decimal(target), **base, **fields})


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    """Any valid objective."""
    kind: Kind = draw(st.sampled_from(["availability", "latency", "accuracy"]))
    fields: dict[str, Any] = {}
    if kind == "latency":
        fields = {
            "threshold_s": draw(st.decimals("0.000001", 2_592_000, places=6)),
            "queue_wait": draw(st.booleans()),
        }
    if kind == "accuracy":
        fields = {
            "evaluator": draw(TEXTS),
            "version": draw(TEXTS),
            "pass_score": draw(st.decimals(0, 1, places=4)),
            "coverage_floor": draw(st.decimals(0, 1, places=4)),
            "settle_after_s": draw(st.integers(0, 90 * DAY_S)),
        }
    label = draw(st.one_of(st.none(), st.tuples(NAMES, st.one_of(TEXTS, st.sampled_from(["1", "yes", "", "~"])))))
    window = draw(
        st.one_of(
            st.integers(60, 366 * 1440).map(lambda minutes: WindowSpec("rolling", minutes * 60)),
            st.tuples(
                st.sampled_from(["month", "week"]), st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])
            ).map(
                lambda drawn: WindowSpec(drawn[0], None, drawn[1])  # type: ignore[arg-type]
            ),
        )
    )
    return Objective(
        name=draw(NAMES),
        kind=kind,
        target=draw(st.decimals("0.000000001", "0.999999999", places=9)),
        window=window,
        scope=Scope(draw(st.one_of(st.none(), NAMES)), draw(st.one_of(st.none(), NAMES)), *(label or (None, None))),
        description=draw(st.one_of(st.just(""), TEXTS)),
        **fields,
    )
