"""Write an agent for Yardmaster in ten lines, and call its REST API.

Two halves that know nothing of each other:

- The serving half makes an executor of one function: `Agent` and `Context`.

      HTTP ─▶ routes ─▶ runner (slots, joins, fences) ─▶ execution (events, outcome) ─▶ your handler
      manager ◀─ registration (register, heartbeat, drain)       serving (signals, drain, exit)

- The calling half is `Client`: submit tasks, follow their events, wait for results.

Both raise small typed errors: a handler raises `PermanentError` to say "do not retry"; the client raises
`YardError` for every answer that is not a success.

**Durable steps.** A handler may survive the crash of anything, and wait for days without holding anything:

    pages = await ctx.step("fetch", fetch, url)          # runs once; after that its result is given back
    yes = await ctx.approve("publish", {"pages": pages}) # the task waits; the agent forgets it
    await ctx.step("publish", publish, yes.args)         # exactly what was approved

`ctx.step`, `approve`, `call`, `gather`, `wait_event`, `sleep`; in a plain handler the same without `await`. The handler
runs again from the top on every call, so all that isn't repeatable (time, randomness, requests) belongs in steps;
`journal` has the rules, and what breaks them fails with a clear code: "steps_mismatch", "two_waits",
"nested_step", "bad_step", "bad_result", "step_too_large", "needs_event_stream".

    Context (async), PlainContext ─▶ waiting (questions, answers) ─▶ journal (names, results, verdict)
                 └─▶ siblings (steps side by side)                      └─▶ eventlog ─▶ the manager
"""

from yardmaster.agent import Agent
from yardmaster.client import Client
from yardmaster.durable import Context
from yardmaster.errors import ApprovalExpired, ApprovalRejected, ChildFailed, PermanentError, YardError
from yardmaster.limits import Limits
from yardmaster.plain import PlainContext
from yardmaster.sse import Event
from yardmaster.unwinding import Unwind
from yardmaster.waits import Child, Decision

__all__ = [
    "Agent",
    "ApprovalExpired",
    "ApprovalRejected",
    "Child",
    "ChildFailed",
    "Client",
    "Context",
    "Decision",
    "Event",
    "Limits",
    "PermanentError",
    "PlainContext",
    "Unwind",
    "YardError",
]
