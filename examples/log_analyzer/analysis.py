"""The whole analysis of one log."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from examples.log_analyzer.bursts import Burst, find_bursts
from examples.log_analyzer.masking import Paths, mask
from examples.log_analyzer.moments import comparable
from examples.log_analyzer.parsing import Record, parse
from examples.log_analyzer.templates import Miner, Template

TOP = 50
MAX_RARE = 20
MAX_EXAMPLE = 300
EVERY = 500  # lines between two looks at progress and cancellation

type Progress = Callable[[float | None, str], None]


class StoppedError(Exception):
    """The caller no longer wants the analysis."""


def analyze(lines: list[str], *, progress: Progress, stopped: Callable[[], bool]) -> dict[str, Any]:
    """The analysis of a log of at least one line.

    Shape: {"lines", "template_count", "templates": [{"template","count","share","example"}] (commonest 50),
    "levels": {level: lines}, "bursts": [{"start","end","lines","times_normal","mostly"}],
    "rare": [lines whose template occurred once] (first 20), "first_at", "last_at"}. Times are ISO 8601, with
    an offset where the log has one; null where it has none. StoppedError when `stopped()` turns true.
    """
    records = list(parse(lines))
    progress(10, f"{len(lines)} lines read")
    templates, places = _mine(records, progress, stopped)
    return {
        "lines": len(records),
        "template_count": len(templates),
        "templates": [_template(template, len(records)) for template in templates[:TOP]],
        "levels": dict(Counter(record.level or "none" for record in records).most_common()),
        "bursts": _bursts(records, templates, places),
        "rare": [_cut(t.example) for t in templates if t.count == 1][:MAX_RARE],
        **_span(records),
    }


def _mine(records: list[Record], progress: Progress, stopped: Callable[[], bool]) -> tuple[list[Template], list[int]]:
    """The templates, and for each record the place of its template."""
    paths = Paths([record.access for record in records if record.access])
    miner = Miner()
    clusters: list[int] = []
    requests: dict[str, Template] = {}
    keys: list[str | None] = []
    for number, record in enumerate(records):
        if number % EVERY == 0:
            if stopped():
                raise StoppedError
            progress(10 + 80 * number / len(records), f"{number} of {len(records)} lines")
        key = paths.describe(record.access) if record.access else None
        keys.append(key)
        clusters.append(-1 if key else miner.add(mask(record.message), record.line))
        if key:
            requests.setdefault(key, Template(key, 0, record.line)).count += 1
    mined, places = miner.templates()
    return _ranked(mined, requests, [key or places[c] for key, c in zip(keys, clusters, strict=True)])


def _ranked(
    mined: list[Template], requests: dict[str, Template], found: list[str | int]
) -> tuple[list[Template], list[int]]:
    """Mined templates and requests in one list, commonest first, with each record's place in it."""
    items: dict[str | int, Template] = dict(enumerate(mined))
    items.update(requests)
    order = sorted(items, key=lambda key: -items[key].count)
    place = {key: index for index, key in enumerate(order)}
    return [items[key] for key in order], [place[key] for key in found]


def _template(template: Template, lines: int) -> dict[str, Any]:
    share = round(template.count / lines, 4)
    return {
        "template": _cut(template.text),
        "count": template.count,
        "share": share,
        "example": _cut(template.example),
    }


def _bursts(records: list[Record], templates: list[Template], places: list[int]) -> list[dict[str, Any]]:
    timed = [(comparable(record.moment), place) for record, place in zip(records, places, strict=True) if record.moment]
    aware = any(record.moment and record.moment.tzinfo for record in records)
    found = find_bursts([moment for moment, _ in timed])
    return [_burst(burst, timed, templates, aware=aware) for burst in found]


def _burst(burst: Burst, timed: list[tuple[float, int]], templates: list[Template], *, aware: bool) -> dict[str, Any]:
    inside = Counter(place for moment, place in timed if burst.start <= moment < burst.end)
    return {
        "start": _text(burst.start, aware=aware),
        "end": _text(burst.end, aware=aware),
        "lines": burst.lines,
        "times_normal": burst.times_normal,
        "mostly": _cut(templates[inside.most_common(1)[0][0]].text),
    }


def _span(records: list[Record]) -> dict[str, str | None]:
    moments = [record.moment for record in records if record.moment]
    if not moments:
        return {"first_at": None, "last_at": None}
    first, last = min(moments, key=comparable), max(moments, key=comparable)
    return {"first_at": first.isoformat(), "last_at": last.isoformat()}


def _text(seconds: float, *, aware: bool) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return (moment if aware else moment.replace(tzinfo=None)).isoformat()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_EXAMPLE else f"{text[: MAX_EXAMPLE - 1]}…"
