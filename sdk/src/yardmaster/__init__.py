"""Write an agent for Yardmaster in ten lines, and call its REST API.

Two halves that know nothing of each other:

- The serving half makes an executor of one function: `Agent` and `Context`.

      HTTP ─▶ routes ─▶ runner (slots, joins, fences) ─▶ execution (events, outcome) ─▶ your handler
      manager ◀─ registration (register, heartbeat, drain)       serving (signals, drain, exit)

- The calling half is `Client`: submit tasks, follow their events, wait for results.

Both raise small typed errors: a handler raises `PermanentError` to say "do not retry"; the client raises
`YardError` for every answer that is not a success.
"""

from yardmaster.agent import Agent
from yardmaster.client import Client
from yardmaster.context import Context
from yardmaster.errors import PermanentError, YardError
from yardmaster.limits import Limits
from yardmaster.sse import Event

__all__ = ["Agent", "Client", "Context", "Event", "Limits", "PermanentError", "YardError"]
