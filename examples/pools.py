"""The pools of the examples, as bodies for `PUT /v1/pools/{pool}`."""

from typing import Any

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_MAYBE_TEXT = {"type": ["string", "null"]}


def _object(required: list[str], **properties: Any) -> dict[str, object]:
    return {"type": "object", "required": required, "properties": properties}


def _list(items: object) -> dict[str, object]:
    return {"type": "array", "items": items}


def _or_null(schema: dict[str, object]) -> dict[str, object]:
    return {**schema, "type": ["object", "null"]}


def _pool(name: str, *, least: int = 1, **fields: object) -> dict[str, object]:
    """A pool's body: what all examples share, and the fields of this one."""
    return {
        "slots": 4,
        "balancer": "ai_optimized",
        "max_attempts": 3,
        "retry": {"initial_s": 1, "max_s": 30, "factor": 2.0, "jitter": 0.2},
        "scale": {"min": least, "max": 4},
        "launch": {"kind": "process", "command": ["python", "-m", f"examples.{name}"]},
        **fields,
    }


_FIGURES: dict[str, object] = dict.fromkeys(
    ("p50_s", "p90_s", "p99_s", "mean_s", "stdev_s", "min_s", "max_s"), _SECONDS
)

_TEMPLATE = _object(
    ["template", "count", "share", "example"],
    template=_TEXT,
    count={"type": "integer", "minimum": 1},
    share={"type": "number", "minimum": 0, "maximum": 1},
    example=_TEXT,
)
_BURST = _object(
    ["start", "end", "lines", "times_normal"],
    start=_TEXT,
    end=_TEXT,
    lines=_COUNT,
    times_normal={"type": "number", "minimum": 0},
    mostly=_TEXT,
)
_ISSUE = _object(
    ["rule", "name", "severity", "confidence", "line", "text", "cwe"],
    rule=_TEXT,
    name=_TEXT,
    severity={"enum": ["undefined", "low", "medium", "high"]},
    confidence={"enum": ["undefined", "low", "medium", "high"]},
    line=_COUNT,
    text=_TEXT,
    cwe={"type": ["integer", "null"]},
)

EXAMPLE_POOLS: dict[str, dict[str, object]] = {
    "log_analyzer": _pool(
        "log_analyzer",
        least=2,
        description="Mines the templates of a log with drain3; counts levels, finds bursts and rare lines.",
        skills={"log_analysis": 1.0},
        timeout_s=120,
        input_schema={
            "type": "object",
            "properties": {"log": _TEXT, "lines": _list(_TEXT)},
            "anyOf": [{"required": ["log"]}, {"required": ["lines"]}],
        },
        output_schema=_object(
            ["lines", "template_count", "templates", "levels", "bursts", "rare", "first_at", "last_at"],
            lines=_COUNT,
            template_count=_COUNT,
            templates=_list(_TEMPLATE),
            levels={"type": "object", "additionalProperties": _COUNT},
            bursts=_list(_BURST),
            rare=_list(_TEXT),
            first_at=_MAYBE_TEXT,
            last_at=_MAYBE_TEXT,
        ),
    ),
    "security_scanner": _pool(
        "security_scanner",
        description="Scans Python source for dangerous constructs with bandit.",
        skills={"security_analysis": 1.0},
        timeout_s=90,
        input_schema=_object(["source"], source=_TEXT, filename=_TEXT),
        output_schema=_object(
            ["filename", "lines", "issues", "counts"],
            filename=_TEXT,
            lines=_COUNT,
            issues=_list(_ISSUE),
            counts={"type": "object", "additionalProperties": _COUNT},
        ),
    ),
    "performance_tester": _pool(
        "performance_tester",
        description="Times a Python snippet in a limited process and reports percentiles in seconds.",
        skills={"performance_testing": 1.0},
        timeout_s=60,
        input_schema=_object(
            ["snippet"],
            snippet={"type": "string", "minLength": 1},
            setup=_TEXT,
            repeat={"type": "integer", "minimum": 1, "maximum": 1000},
            number={"type": "integer", "minimum": 1, "maximum": 10_000_000},
        ),
        output_schema=_object(
            ["runs", "number", *_FIGURES, "per_call"],
            runs=_COUNT,
            number=_COUNT,
            per_call=_object(list(_FIGURES), **_FIGURES),
            **_FIGURES,
        ),
    ),
    "incident_responder": _pool(
        "incident_responder",
        least=0,  # it runs commands on its own machine: started by whoever wants that
        description="Mines a log, proposes a command that would show more, asks, and runs exactly what was approved.",
        skills={"incident_response": 1.0},
        timeout_s=120,
        input_schema=_object(["log"], log=_TEXT),
        output_schema=_object(
            ["findings", "proposal", "decision", "run"],
            findings=_object(
                ["lines", "levels", "templates", "suspicions"],
                lines=_COUNT,
                levels={"type": "object", "additionalProperties": _COUNT},
                templates=_list(_TEMPLATE),
                suspicions=_list(_object(["kind", "lines", "example"], kind=_TEXT, lines=_COUNT, example=_TEXT)),
            ),
            proposal=_or_null(_object(["command", "why", "risk"], command=_list(_TEXT), why=_TEXT, risk=_TEXT)),
            decision=_or_null(_object(["status", "by", "reason"], status=_TEXT, by=_MAYBE_TEXT, reason=_TEXT)),
            run=_or_null(
                _object(
                    ["command", "exit_code", "stdout", "stderr"],
                    command=_list(_TEXT),
                    exit_code={"type": ["integer", "null"]},
                    stdout=_TEXT,
                    stderr=_TEXT,
                )
            ),
        ),
    ),
}
