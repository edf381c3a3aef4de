"""A cap on a pool as fewer slots of its agents: then each slot that is left has one owner as ever. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def spread(cap: int, slots: Sequence[tuple[str, int]], last: Collection[str] = ()) -> dict[str, int]:
    """How many slots each agent offers, so that together they offer `cap` (or all they have).

    `slots`: (agent, its slots), in any order. They are dealt out one a round, by the agents' ids, so that every manager
    comes to the same numbers and no agent gets many while another gets none. Those in `last` get what the others have
    no room for: a cap must not leave only agents that are given nothing.
    """
    first = _deal(cap, [item for item in slots if item[0] not in last])
    return first | _deal(cap - sum(first.values()), [item for item in slots if item[0] in last])


def _deal(cap: int, slots: Sequence[tuple[str, int]]) -> dict[str, int]:
    left = max(0, cap)
    dealt = dict.fromkeys(sorted(agent for agent, _ in slots), 0)
    room = {agent: count for agent, count in slots if count > 0}
    while left and room:
        share = max(1, left // len(room))
        for agent in sorted(room):
            given = min(share, room[agent], left)
            dealt[agent] += given
            room[agent] -= given
            left -= given
        room = {agent: count for agent, count in room.items() if count}
    return dealt
