"""`true` is no number, in any shape of costs that takes one."""

from __future__ import annotations

import inspect
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError, create_model
from pydantic.fields import FieldInfo

from app.costs import budget_wire, control_wire, model_wire, price_wire
from tests.api.verbs import refused

_MODULES = (budget_wire, control_wire, model_wire, price_wire)
FIELDS = [
    pytest.param(name, field, id=f"{shape.__name__}.{name}")
    for module in _MODULES
    for shape in vars(module).values()
    if inspect.isclass(shape) and issubclass(shape, BaseModel) and shape.__name__.endswith("In")
    for name, field in shape.model_fields.items()
    if field.annotation is not bool
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
@pytest.mark.parametrize("value", [True, [True], {"input_tokens": True}])
def test_no_field_takes_true_for_a_number(name: str, field: FieldInfo, value: Any) -> None:
    fields: dict[str, Any] = {name: (field.annotation, field)}
    shape = create_model("Shape", **fields)
    with pytest.raises(ValidationError):
        shape.model_validate({name: value})


def test_the_fields_that_are_numbers_take_numbers() -> None:
    assert budget_wire.ThresholdIn(percent=80, action="throttle", per_minute=1).per_minute == 1.0
    assert model_wire.RatingIn(quality=1, speed=0, efficiency=1).model_dump() == {
        "quality": 1.0, "speed": 0.0, "efficiency": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/models/m", {"quality": True, "speed": 0.5}),
        ("PUT", "/v1/models/m", {"quality": 0.5, "speed": 0.5, "efficiency": True}),
        ("POST", "/v1/models/recommend", {"input_type": "general", "complexity": True}),
        (
            "PUT",
            "/v1/budgets/b",
            {
                "limit": "5",
                "window": {"kind": "day"},
                "thresholds": [{"percent": 50, "action": "throttle", "per_minute": True}],
            },
        ),
    ],
)
async def test_true_is_refused_with_a_code(client: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    found = refused(await client.request(method, path, json=body), 422, "validation_error")
    assert "true or false" in found["errors"][0]["message"]
