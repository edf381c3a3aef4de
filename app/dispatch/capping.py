"""A cap on a pool as fewer slots of its agents: then each slot that is left has one owner as ever. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def spread(cap: int, slots: Sequence[tuple[str, int]]) -> dict[str, int]:
    """How many slots each agent offers, so that together they offer `cap` (or all they have).

    `slots`: (agent, its slots), in any order. They are dealt out one a round, by the agents' ids, so that every manager
    comes to the same numbers and no agent gets many while another gets none.
    """
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
