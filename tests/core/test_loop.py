"""The loop under every background pass: wakes, backoff, stop. In virtual time, so minutes cost nothing."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest

from app.core.loop import BACKOFF_CAP_S, Loop
from tests.core.virtual_time import now, run


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def a_loop(tick: object, interval_s: float = 1000.0) -> Loop:
    return Loop("test", tick, interval_s=interval_s, rng=NoJitter())  # type: ignore[arg-type]


def test_it_ticks_at_its_interval_and_at_the_time_a_tick_asks_for() -> None:
    async def main() -> None:
        times: list[float] = []

        async def tick() -> float | None:
            times.append(now())
            return 3.0 if len(times) == 2 else None

        loop = a_loop(tick, 10.0)
        loop.start()
        await asyncio.sleep(35)
        await loop.stop()
        assert times == pytest.approx([0, 10, 13, 23, 33])

    run(main())


def test_intervals_are_spread_by_a_tenth() -> None:
    async def main() -> None:
        times: list[float] = []

        async def tick() -> None:
            times.append(now())

        loop = Loop("test", tick, interval_s=10.0, rng=random.Random(1))
        loop.start()
        await asyncio.sleep(1000)
        await loop.stop()
        gaps = [b - a for a, b in pairwise(times)]
        assert 9.0 <= min(gaps) < 9.5 and 10.5 < max(gaps) <= 11.0

    run(main())


def test_how_late_it_is() -> None:
    async def main() -> None:
        rest = [20.0]

        async def tick() -> float | None:
            if rest[0] < 0:
                raise OSError("away")
            await asyncio.sleep(rest[0])
            return None

        loop = a_loop(tick, 10.0)
        assert loop.lag_s == 0, "it was not started"
        loop.start()
        await asyncio.sleep(15)
        assert loop.lag_s == pytest.approx(15), "the first tick hangs"
        rest[0] = 0.0
        await asyncio.sleep(6)
        assert loop.lag_s == 0, "the next one is not due"
        rest[0] = -1.0
        await asyncio.sleep(59)  # due at 30
        assert loop.lag_s == pytest.approx(50), "each has failed since"
        rest[0] = 0.0
        await asyncio.sleep(BACKOFF_CAP_S + 1)
        assert loop.lag_s < 10
        await loop.stop()

    run(main())


def test_a_wake_during_a_tick_survives_it() -> None:
    async def main() -> None:
        ticks: list[float] = []

        async def tick() -> None:
            await asyncio.sleep(1)
            ticks.append(now())
            if len(ticks) == 1:
                loop.wake()
            await asyncio.sleep(1)

        loop = a_loop(tick)
        loop.start()
        await asyncio.sleep(100)
        await loop.stop()
        assert ticks == pytest.approx([1, 3])

    run(main())


def test_wakes_that_arrive_together_cost_one_tick() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            ticks += 1

        loop = a_loop(tick)
        loop.start()
        await asyncio.sleep(1)
        for _ in range(50):
            loop.wake()
        await asyncio.sleep(1)
        assert ticks == 2
        await loop.stop()

    run(main())


@pytest.mark.parametrize("storm", [False, True], ids=["left alone", "under a storm of wakes"])
def test_backoff_doubles_to_its_cap_whatever_wakes_come(storm: bool) -> None:
    async def main() -> None:
        times: list[float] = []

        async def tick() -> None:
            times.append(now())
            raise OSError("away")

        async def wake() -> None:
            while True:
                loop.wake()
                await asyncio.sleep(0.05)

        loop = a_loop(tick, 5.0)
        loop.start()
        waker = asyncio.create_task(wake()) if storm else None
        await asyncio.sleep(200)
        if waker is not None:
            waker.cancel()
        await loop.stop()
        gaps = [b - a for a, b in pairwise(times)]
        assert gaps[:8] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6])
        assert len(gaps) > 10 and gaps[8:] == pytest.approx([BACKOFF_CAP_S] * len(gaps[8:]))

    run(main())


def test_eleven_hundred_failures_do_not_overflow_and_one_success_forgets_them() -> None:
    async def main() -> None:
        times: list[float] = []

        async def tick() -> None:
            times.append(now())
            if len(times) <= 1100:
                raise RuntimeError("still away")

        loop = a_loop(tick, 7.0)
        loop.start()
        while len(times) < 1103:
            await asyncio.sleep(100)
        await loop.stop()
        assert times[1099] - times[1098] == pytest.approx(BACKOFF_CAP_S)
        assert loop.failures == 0
        assert times[1102] - times[1101] == pytest.approx(7.0)

    run(main())


@pytest.mark.parametrize("fails", [False, True], ids=["while it waits", "while it backs off"])
def test_stop_is_prompt_and_may_be_called_again(fails: bool) -> None:
    async def main() -> None:
        async def tick() -> None:
            if fails:
                raise OSError("away")

        loop = a_loop(tick)
        loop.start()
        loop.start()
        await asyncio.sleep(20)
        before = now()
        await asyncio.gather(loop.stop(), loop.stop())
        await loop.stop()
        assert now() == before
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("loop:")] == []

    run(main())


def test_stop_lets_a_running_tick_end_but_not_for_ever() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def slow(seconds: float, name: str) -> None:
            try:
                await asyncio.sleep(seconds)
                ended.append(name)
            except asyncio.CancelledError:
                ended.append(f"{name} cut")
                raise

        patient, stuck = a_loop(lambda: slow(4, "patient")), a_loop(lambda: slow(10_000, "stuck"))
        patient.start()
        stuck.start()
        await asyncio.sleep(1)
        await asyncio.gather(patient.stop(), stuck.stop())
        assert ended == ["patient", "stuck cut"]
        assert now() == pytest.approx(11.0)

    run(main())


def test_a_stop_ends_a_rest_and_a_wake_does_not() -> None:
    async def main() -> None:
        rested: list[float] = []

        async def tick() -> None:
            began = now()
            await loop.rest(5.0)
            rested.append(now() - began)

        loop = a_loop(tick)
        loop.start()
        await asyncio.sleep(1.0)
        loop.wake()
        await asyncio.sleep(5.0)
        before = now()
        await loop.stop()
        assert now() == before
        assert rested == [5.0, pytest.approx(1.0)]

    run(main())


def test_a_stop_before_the_start_is_nothing() -> None:
    async def never() -> None:
        raise AssertionError

    run(a_loop(never).stop())


def test_stress_no_pass_overlaps_itself_and_none_follows_a_stop() -> None:
    async def main() -> None:
        rng = random.Random(7)
        inside: set[int] = set()
        ticks = [0] * 60
        stopped: set[int] = set()

        async def tick(number: int) -> float | None:
            assert number not in inside and number not in stopped
            inside.add(number)
            try:
                await asyncio.sleep(rng.choice([0, 0, 0.1, 2.0]))
                ticks[number] += 1
                if rng.random() < 0.2:
                    raise OSError("now and then")
            finally:
                inside.discard(number)
            return rng.choice([None, 0.0, 0.5])

        loops = [Loop(f"stress-{n}", lambda n=n: tick(n), interval_s=1.0, rng=rng) for n in range(60)]  # type: ignore[misc]

        async def live(number: int) -> None:
            for _ in range(rng.randrange(30)):
                loops[number].start()
                loops[number].wake()
                await asyncio.sleep(rng.choice([0, 0.01, 0.7]))
            await asyncio.gather(*(loops[number].stop() for _ in range(rng.randrange(1, 4))))
            stopped.add(number)

        await asyncio.gather(*(live(n) for n in range(60)))
        seen = list(ticks)
        await asyncio.sleep(500)
        assert ticks == seen and not inside
        assert sum(ticks) > 200

    run(main())
