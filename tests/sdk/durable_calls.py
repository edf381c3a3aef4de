"""A manager in miniature: calls an agent, keeps the steps it tells, and answers its waits."""

from typing import Any

import httpx

from yardmaster.sse import Decoder, Event

STREAM = {"Accept": "text/event-stream, application/json"}


class Task:
    """One task of one agent. `steps` are stored as the events come; `answer` resumes it."""

    def __init__(self, agent: httpx.AsyncClient, payload: Any = None) -> None:
        self.agent, self.payload = agent, payload
        self.steps: dict[str, Any] = {}
        self.resume: dict[str, str] | None = None
        self.attempt, self.fence = 1, 0
        self.suspended: dict[str, Any] = {}

    async def call(self, **fields: Any) -> list[Event]:
        """One call, with a higher fence; its events. Steps are stored unless `forget`."""
        forget = fields.pop("forget", False)
        self.fence += 1
        body = {"task_id": "t1", "attempt": self.attempt, "fence": self.fence, "type": "x", "payload": self.payload}
        body |= {"steps": self.steps, "resume": self.resume} | fields
        found = said(await self.agent.post("/execute", json=body, headers=STREAM))
        for event in found:
            if event.type == "step" and not forget:
                assert self.steps.get(event.data["name"], event.data["result"]) == event.data["result"]
                self.steps[event.data["name"]] = event.data["result"]
            if event.type == "suspend":
                self.suspended = event.data
        return found

    def answer(self, result: Any) -> None:
        """What it waits for has come."""
        self.steps[self.suspended["step"]] = result
        self.resume = {"step": self.suspended["step"], "reason": self.suspended["reason"]}

    async def run(self, *answers: Any) -> Event:
        """Call until it ends, with the next answer at each wait; the last event."""
        waiting = list(answers)
        while True:
            last = (await self.call())[-1]
            if last.type != "suspend" or not waiting:
                return last
            self.answer(waiting.pop(0))


def approved(args: Any, status: str = "approved") -> dict[str, Any]:
    return {"status": status, "args": args, "reason": "why not", "decided_by": "ann", "payload_hash": "ab" * 32}


def child(status: str, result: Any = None, code: str = "") -> dict[str, Any]:
    """One answer of a call."""
    error = {"code": code, "message": "it broke"} if code else None
    return {"task_id": f"c-{status}", "status": status, "result": result, "error": error}


def said(answer: httpx.Response) -> list[Event]:
    """The events of an answer; a plain one counts as its last event."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        return list(Decoder().pieces(answer.content))
    body = answer.json()
    return [Event("result", {"result": body["result"]}) if "result" in body else Event("error", body["error"])]
