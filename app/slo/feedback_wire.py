"""The JSON shapes of feedback."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.slo.wire import Share

MAX_COMMENT = 4_000
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,100}$")]

FEEDBACK_EXAMPLE: dict[str, Any] = {
    "id": "01a1fb40-7d11-7c3a-8a57-0d5c4e6b7a10",
    "task_id": "01939f2e-6f1c-7c3a-8a57-0d5c4e6b7a10",
    "source": "judge",
    "evaluator": "rubric",
    "version": "3",
    "score": 0.8,
    "label": None,
    "comment": "",
    "said_by": "3f9c21ab07",
    "at": "2026-11-20T20:25:00Z",
}


class TaskFeedbackIn(BaseModel):
    """A verdict about a task's result. Another version of an evaluator is another series: nothing is mixed.

    `label` good, correct or pass, and bad, incorrect or fail, are a verdict by themselves; any other is kept, and the
    score decides. A person's word outranks a judge's.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"source": "judge", "evaluator": "rubric", "version": "3", "score": 0.8},
                {"source": "human", "label": "bad", "comment": "It names the wrong file."},
            ]
        },
    )
    source: Literal["human", "judge"] = "human"
    evaluator: Text | None = Field(None, description="Who judges; of a person it may be left out.")
    version: Text | None = Field(None, description="Of the evaluator: its prompt, model or rubric.")
    score: Share | None = None
    label: Text | None = None
    comment: str = Field("", max_length=MAX_COMMENT)

    @model_validator(mode="after")
    def _says_something(self) -> TaskFeedbackIn:
        if self.source == "judge" and (self.evaluator is None or self.version is None):
            raise ValueError("a judge names its evaluator and version")
        if self.score is None and self.label is None and not self.comment:
            raise ValueError("one of score, label and comment is needed")
        return self


class TaskFeedbackOut(BaseModel):
    """A verdict. It is never changed: a second thought is another one, and of equals the newest counts."""

    model_config = ConfigDict(json_schema_extra={"examples": [FEEDBACK_EXAMPLE]})
    id: UUID
    task_id: UUID
    source: Literal["human", "judge"]
    evaluator: str
    version: str
    score: float | None
    label: str | None
    comment: str
    said_by: str = Field(description="The id of the key that it came with.")
    at: datetime


class TaskFeedbackPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [FEEDBACK_EXAMPLE], "next_page_token": None}]})
    items: list[TaskFeedbackOut]
    next_page_token: str | None
