"""Batches are what arrived; every item gets its own answer, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.batch import Batcher, BatcherClosed
from tests.core.virtual_time import now, run


class Writer:
    """Keeps the batches it was given; each write takes `seconds`; `fail_on` items make their batch fail."""

    def __init__(self, seconds: float = 1.0, fail_on: frozenset[int] = frozenset()) -> None:
        self.seconds, self.fail_on = seconds, fail_on
        self.batches: list[list[int]] = []
        self.at_once = self.most_at_once = 0

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.seconds)
        self.at_once -= 1
        if self.fail_on.intersection(items):
            raise ValueError(f"cannot write {items}")
        return [item * 10 for item in items]


def test_an_idle_batcher_writes_at_once_and_gathers_while_it_writes() -> None:
    async def main() -> None:
        writer = Writer()
        batcher = Batcher(writer, limit=100)
        first = batcher.put_nowait(0)
        await asyncio.sleep(0.5)
        assert writer.batches == [[0]], "no timer holds the first one back"
        rest = [batcher.put_nowait(n) for n in range(1, 5)]
        assert batcher.waiting == 4
        assert await first == 0
        assert await asyncio.gather(*rest) == [10, 20, 30, 40]
        assert writer.batches == [[0], [1, 2, 3, 4]]
        assert now() == pytest.approx(2.0)

    run(main())


def test_items_of_one_turn_share_a_batch_and_the_limit_cuts_it() -> None:
    async def main() -> None:
        writer = Writer()
        batcher = Batcher(writer, limit=3)
        assert await asyncio.gather(*(batcher.put(n) for n in range(7))) == [n * 10 for n in range(7)]
        assert writer.batches == [[0, 1, 2], [3, 4, 5], [6]]

    run(main())


def test_a_failed_batch_fails_its_own_callers_only() -> None:
    async def main() -> None:
        batcher = Batcher(Writer(fail_on=frozenset({1})), limit=2)
        answers = await asyncio.gather(*(batcher.put(n) for n in range(4)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError, ValueError, int, int]
        assert await batcher.put(9) == 90

    run(main())


def test_a_failure_nobody_waits_for_is_no_warning() -> None:
    async def main() -> None:
        batcher = Batcher(Writer(fail_on=frozenset({1})), limit=2)
        batcher.put_nowait(1)
        await batcher.close()

    run(main())  # "exception was never retrieved" would be an error here


def test_too_few_answers_are_an_error_and_not_a_hang() -> None:
    async def short(items: Sequence[int]) -> list[int]:
        return list(items[1:])

    async def main() -> None:
        batcher = Batcher(short, limit=5)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(batcher.put(1), batcher.put(2), return_exceptions=True)
        assert any(isinstance(answer, Exception) for answer in answers)

    run(main())


def test_a_cancelled_caller_harms_neither_its_item_nor_its_neighbours() -> None:
    async def main() -> None:
        writer = Writer()
        batcher = Batcher(writer, limit=10)
        callers = [asyncio.ensure_future(batcher.put(n)) for n in range(3)]
        await asyncio.sleep(0.5)
        callers[1].cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
        assert results[0] == 0 and results[2] == 20
        assert isinstance(results[1], asyncio.CancelledError)
        assert writer.batches == [[0, 1, 2]]

    run(main())


def test_close_writes_what_was_accepted_and_refuses_more() -> None:
    async def main() -> None:
        writer = Writer()
        batcher = Batcher(writer, limit=2)
        futures = [batcher.put_nowait(n) for n in range(5)]
        await batcher.close()
        assert [future.result() for future in futures] == [0, 10, 20, 30, 40]
        with pytest.raises(BatcherClosed):
            await batcher.put(5)
        await batcher.close()

    run(main())


def test_writers_bound_the_batches_under_way() -> None:
    async def main() -> None:
        writer = Writer()
        batcher = Batcher(writer, limit=1, writers=3)
        waiting = []
        for n in range(9):
            waiting.append(batcher.put_nowait(n))
            await asyncio.sleep(0.01)
        await asyncio.gather(*waiting)
        assert writer.most_at_once == 3

    run(main())


steps = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.3, 1.0, 2.5])), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(steps, st.integers(1, 5), st.integers(1, 3), st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_every_put_is_answered_once_in_order_within_the_limit(
    arrivals: list[tuple[int, float]], limit: int, writers: int, failing: set[int], cancelled: set[int]
) -> None:
    async def main() -> None:
        writer = Writer(fail_on=frozenset(failing))
        batcher = Batcher(writer, limit=limit, writers=writers)
        callers: list[asyncio.Task[int]] = []
        for count, pause_s in arrivals:
            for _ in range(count):
                callers.append(asyncio.create_task(batcher.put(len(callers))))
            await asyncio.sleep(pause_s)
        for number in cancelled & set(range(len(callers))):
            callers[number].cancel()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        await batcher.close()
        written = [item for batch in writer.batches for item in batch]
        never_put = {n for n in cancelled if n < len(callers) and n not in written}
        assert written == sorted(written), "arrival order"
        assert set(written) | never_put == set(range(len(callers))) and len(written) == len(set(written))
        assert all(len(batch) <= limit for batch in writer.batches)
        assert writer.most_at_once <= writers
        batch_of = {item: batch for batch in writer.batches for item in batch}
        for number, answer in enumerate(answers):
            if isinstance(answer, asyncio.CancelledError):
                assert number in cancelled
            elif failing.intersection(batch_of[number]):
                assert isinstance(answer, ValueError)
            else:
                assert answer == number * 10

    run(main())
