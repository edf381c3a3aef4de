"""JSON shapes of `/v1/models`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.costs.numbers import NO_FLAG
from app.costs.price_wire import ModelName, plain
from app.costs.recommend import GENERAL, TOKENS, Advice, Option, Wanted
from app.costs.scores import Rating

MAX_CANDIDATES = 100
_PLACES = 6

_RATING: dict[str, Any] = {
    "model": "gpt-4o",
    "quality": 0.912,
    "speed": 0.894,
    "efficiency": 1.0,
    "said": {"quality": 0.9, "speed": 0.9},
    "feedback": {"good": 12, "bad": 1},
    "observations": {"quality": 813, "speed": 800},
}
_OPTION: dict[str, Any] = {
    "model": "gemini-2.0-flash",
    "quality": 0.85,
    "speed": 0.95,
    "input_tokens": 625,
    "output_tokens": 2500,
    "cost_usd": "0.0010625",
    "price_version": "genai-prices/0.2.3",
    "score": 0.914682,
    "observations": {"quality": 0, "speed": 0},
}
_ADVICE: dict[str, Any] = {
    "recommended": "gemini-2.0-flash",
    "input_type": "code_generation",
    "reasoning": ["gemini-2.0-flash scores 0.9147: …", "gpt-5 is out: it would cost 0.02578125 USD, above 0.01 USD."],
    "alternatives": [_OPTION],
    "dropped": [{"model": "gpt-5", "reason": "over_budget", "detail": "it would cost 0.02578125 USD, above 0.01 USD."}],
}

type Share = Annotated[float, NO_FLAG, Field(ge=0, le=1, allow_inf_nan=False)]


class RatingIn(BaseModel):
    """What you say of a model. What is measured moves it from there."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"quality": 0.8, "speed": 0.95}]})
    quality: Share
    speed: Share
    efficiency: Annotated[float, NO_FLAG] = Field(
        1.0, ge=0.01, le=100, allow_inf_nan=False, description="Tokens that it needs, as a multiple of the estimate."
    )


class FeedbackIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"good": True}]})
    good: bool = Field(strict=True, description="Whether its work was good.")


class SaidOut(BaseModel):
    quality: float
    speed: float


class FeedbackOut(BaseModel):
    good: int
    bad: int


class ObservationsOut(BaseModel):
    """How many observations moved the score."""

    quality: int
    speed: int


class RatingOut(BaseModel):
    """`quality` and `speed` as they count now; `said`: where they started."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RATING]})
    model: str
    quality: float
    speed: float
    efficiency: float
    said: SaidOut
    feedback: FeedbackOut
    observations: ObservationsOut

    @classmethod
    def of(cls, model: str, rating: Rating) -> RatingOut:
        return cls(
            model=model,
            quality=round(rating.quality, _PLACES),
            speed=round(rating.speed, _PLACES),
            efficiency=rating.efficiency,
            said=SaidOut(quality=rating.said.quality, speed=rating.said.speed),
            feedback=FeedbackOut(good=rating.said.good, bad=rating.said.bad),
            observations=_observations(rating),
        )


class RatingPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_RATING], "next_page_token": None}]})
    items: list[RatingOut]
    next_page_token: str | None


class RecommendIn(BaseModel):
    """A task to choose a model for. What the two priorities leave of 1 is the priority of cost."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "input_type": "code_generation",
                    "complexity": 0.5,
                    "quality_priority": 0.5,
                    "speed_priority": 0.2,
                    "budget_limit_usd": "0.01",
                    "candidates": ["gpt-5", "gpt-4o", "gemini-2.0-flash"],
                }
            ]
        },
    )
    input_type: str = Field(
        GENERAL, min_length=1, max_length=100, description=f"{', '.join(TOKENS)}; any other counts as {GENERAL}."
    )
    complexity: Share = 0.5
    quality_priority: Share = 0.5
    speed_priority: Share = 0.2
    budget_limit_usd: Decimal | None = Field(
        None, ge=0, le=10**9, max_digits=30, decimal_places=18, allow_inf_nan=False, description="Of this one task."
    )
    candidates: list[ModelName] | None = Field(
        None, min_length=1, max_length=MAX_CANDIDATES, description="null: every model that is rated."
    )

    @model_validator(mode="after")
    def _shared(self) -> RecommendIn:
        if self.quality_priority + self.speed_priority > 1 + 1e-9:
            raise ValueError("quality_priority and speed_priority together are at most 1")
        return self

    def wanted(self) -> Wanted:
        return Wanted(
            self.input_type, self.complexity, self.quality_priority, self.speed_priority, self.budget_limit_usd
        )


class OptionOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_OPTION]})
    model: str
    quality: float
    speed: float
    input_tokens: int
    output_tokens: int
    cost_usd: str
    price_version: str
    score: float
    observations: ObservationsOut

    @classmethod
    def of(cls, option: Option) -> OptionOut:
        return cls(
            model=option.model,
            quality=round(option.rating.quality, _PLACES),
            speed=round(option.rating.speed, _PLACES),
            input_tokens=option.input_tokens,
            output_tokens=option.output_tokens,
            cost_usd=plain(option.cost_usd),
            price_version=option.price_version,
            score=round(option.score, _PLACES),
            observations=_observations(option.rating),
        )


class DroppedOut(BaseModel):
    """`reason`: unrated, unpriced or over_budget."""

    model: str
    reason: str
    detail: str


class AdviceOut(BaseModel):
    """`alternatives`: all models that fit, the recommended one first. `input_type`: whose estimate was used."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ADVICE]})
    recommended: str
    input_type: str
    reasoning: list[str]
    alternatives: list[OptionOut]
    dropped: list[DroppedOut]

    @classmethod
    def of(cls, advice: Advice) -> AdviceOut:
        return cls(
            recommended=advice.options[0].model,
            input_type=advice.input_type,
            reasoning=list(advice.reasoning),
            alternatives=[OptionOut.of(option) for option in advice.options],
            dropped=[DroppedOut(model=item.model, reason=item.reason, detail=item.detail) for item in advice.dropped],
        )


def _observations(rating: Rating) -> ObservationsOut:
    return ObservationsOut(quality=rating.quality_observations, speed=rating.speed_observations)
