"""Our usage in the words of OpenTelemetry: the `gen_ai.*` attributes of a span. All names stand in this module.

Source: OpenTelemetry semantic conventions for generative AI (registry of `gen_ai` attributes, schema 1.42; their status
is "Development", so they may change). They say, as we do, that cached input is part of `input_tokens`, and reasoning of
`output_tokens`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol

import orjson

from app.costs import catalogue

type Value = str | int | tuple[str, ...]

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
OF_QUANTITIES = {
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
PROVIDERS = {
    "google": "gcp.gemini",
    "azure": "azure.ai.openai",
    "aws": "aws.bedrock",
    "x-ai": "x_ai",
    "mistral": "mistral_ai",
}
"""Where the conventions name a provider otherwise than genai-prices does."""


class Used(Protocol):
    """A row of usage; `quantities` is JSON text."""

    @property
    def model(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def quantities(self) -> str: ...


def attributes(rows: Iterable[Used]) -> dict[str, Value]:
    """Attributes of an attempt's span, from all its usage; none where it used no model.

    A span has one model: that of the most tokens. The tokens are those of all models, and the others' names are in
    `yard.models`. `gen_ai.request.model` is what the agent says it used: we do not see what it asked its provider for.
    """
    tokens: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for row in rows:
        tokens[row.model] += row.input_tokens + row.output_tokens
        sums[INPUT_TOKENS] += row.input_tokens
        sums[OUTPUT_TOKENS] += row.output_tokens
        for name, value in _quantities(row.quantities).items():
            key = OF_QUANTITIES.get(name)
            if key is not None and type(value) is int:
                sums[key] += value
    if not tokens:
        return {}
    model = tokens.most_common(1)[0][0]
    found: dict[str, Value] = {OPERATION_NAME: "invoke_agent", REQUEST_MODEL: model, RESPONSE_MODEL: model, **sums}
    listed = catalogue.find(model)
    if listed is not None:
        found[PROVIDER_NAME] = PROVIDERS.get(listed.provider, listed.provider)
    if len(tokens) > 1:
        found["yard.models"] = tuple(sorted(tokens))
    return found


def _quantities(text: str) -> Mapping[str, object]:
    value = orjson.loads(text) if text and text != "{}" else {}
    return value if isinstance(value, dict) else {}
