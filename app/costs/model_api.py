"""`/v1/models`: how good, fast and dear models are, and which to take."""

from __future__ import annotations

from fastapi import APIRouter

from app.auth.callers import Caller
from app.auth.edge import Edge
from app.core.http import PageSize, PageToken, StrictRoute, encode_page_token, problems, resume_after
from app.costs.model_service import Models
from app.costs.model_wire import AdviceOut, FeedbackIn, RatingIn, RatingOut, RatingPage, RecommendIn
from app.costs.price_api import ModelPath


def router(models: Models, edge: Edge) -> APIRouter:
    api = APIRouter(prefix="/v1/models", tags=["costs"], route_class=StrictRoute)

    @api.get("", responses=problems(400, 401, 403, 422, 503), summary="List rated models")
    async def list_models(
        page_size: PageSize = 50,
        page_token: PageToken = None,
        caller: Caller = edge.require("tasks:read"),
    ) -> RatingPage:
        """By name: what is said of them, moved by recent attempts and by feedback, with the number of observations."""
        after = resume_after(page_token, "models") if page_token else ""
        found = [(model, rating) for model, rating in (await models.ratings()).items() if model > after]
        page = found[:page_size]
        token = encode_page_token("models", page[-1][0]) if len(found) > page_size else None
        return RatingPage(items=[RatingOut.of(*item) for item in page], next_page_token=token)

    @api.post("/recommend", responses=problems(400, 401, 403, 413, 422, 503), summary="Recommend a model")
    async def recommend(body: RecommendIn, caller: Caller = edge.require("tasks:read")) -> AdviceOut:
        """The model with the best score of quality, speed and cost, and all others that fit. Models without a price,
        without a rating, or above the budget are dropped, with the reason; 422 `no_model_fits` where all are."""
        return AdviceOut.of(await models.recommend(body.wanted(), body.candidates))

    @api.put("/{model:path}", responses=problems(400, 401, 403, 404, 413, 422, 503), summary="Rate a model")
    async def put_model(model: ModelPath, body: RatingIn, caller: Caller = edge.require("admin")) -> RatingOut:
        """Your own scores, of a new model or instead of the built-in ones. Feedback and observations stay."""
        return RatingOut.of(model, await models.put(model, body.quality, body.speed, body.efficiency))

    @api.post(
        "/{model:path}/feedback",
        responses=problems(400, 401, 403, 404, 413, 422, 503),
        summary="Say whether a model's work was good",
    )
    async def feedback(model: ModelPath, body: FeedbackIn, caller: Caller = edge.require("tasks:write")) -> RatingOut:
        """Counts like one attempt of it. 404 for a model that nobody has rated."""
        return RatingOut.of(model, await models.feedback(model, body.good))

    return api
