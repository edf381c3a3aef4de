"""Usage in the words of OpenTelemetry."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from app.costs import genai
from app.costs.quantities import read_usage
from app.tasks.queue import UsageRow


def test_an_attempt_is_one_span_of_its_largest_model() -> None:
    rows = [
        UsageRow("gpt-4o-mini", 10, 5, '{"cached_input_tokens":4,"seconds":1.5}'),
        UsageRow("gemini-2.0-flash", 100, 50, '{"reasoning_tokens":20,"cached_input_tokens":6,"cache_write_tokens":1}'),
    ]
    assert genai.attributes(rows) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "gcp.gemini",
        "gen_ai.request.model": "gemini-2.0-flash",
        "gen_ai.response.model": "gemini-2.0-flash",
        "gen_ai.usage.input_tokens": 110,
        "gen_ai.usage.output_tokens": 55,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.cache_creation.input_tokens": 1,
        "gen_ai.usage.reasoning.output_tokens": 20,
        "yard.models": ("gemini-2.0-flash", "gpt-4o-mini"),
    }


def test_a_model_that_nobody_knows_has_no_provider() -> None:
    found = genai.attributes([UsageRow("house", 3, 0)])
    assert genai.PROVIDER_NAME not in found and found[genai.INPUT_TOKENS] == 3
    assert genai.attributes([]) == {}


def test_the_names_are_those_of_the_conventions() -> None:
    for name in (genai.OPERATION_NAME, genai.PROVIDER_NAME, genai.REQUEST_MODEL, genai.RESPONSE_MODEL,
                 genai.INPUT_TOKENS, genai.OUTPUT_TOKENS):  # fmt: skip
        constant = name.upper().replace(".", "_")
        assert getattr(gen_ai_attributes, constant) == name
    assert {"invoke_agent"} <= {value.value for value in gen_ai_attributes.GenAiOperationNameValues}
    known = {value.value for value in gen_ai_attributes.GenAiProviderNameValues}
    assert set(genai.PROVIDERS.values()) <= known


def test_what_an_agent_reports_by_other_names_is_the_same() -> None:
    read = read_usage({"model": "m", "input_tokens": 9, "cache_read_input_tokens": 4})
    assert not isinstance(read, str)
    assert set(read.quantities) <= set(genai.OF_QUANTITIES)
