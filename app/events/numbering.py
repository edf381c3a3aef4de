"""How the manager that runs an attempt numbers what the agent says, so that every reader finds the agent's own order.

Tokens and notes (stored progress and step events) are numbered apart, from 1. Each says how many of the other kind came
before it, which is all that a reader needs to merge the two, whichever of them it hears first.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Numbering:
    """The count of one attempt. `fence` is the attempt's."""

    fence: int
    tokens: int = 0
    notes: int = 0

    def token(self) -> tuple[int, int]:
        """(n, note) of the next token: its number, and the notes before it."""
        self.tokens += 1
        return self.tokens, self.notes

    def note(self) -> dict[str, int]:
        """To add to the data of the next note: its number, and the tokens before it."""
        self.notes += 1
        return {"fence": self.fence, "note": self.notes, "tokens": self.tokens}

    def ending(self) -> dict[str, int]:
        """To add to the data of the event that ends the attempt: after how many tokens."""
        return {"fence": self.fence, "tokens": self.tokens}
