"""`/openapi.json` teaches by example: every parameter, request body and answer shows one, and each example is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest

from app.main import create_app
from app.settings import AuthSettings, Settings
from tests.conftest import PEPPER

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(auth=AuthSettings(pepper=PEPPER))).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield f"{method.upper()} {path}", operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a `$ref`, with what stands beside the reference."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    return {**document["components"]["schemas"][reference.rpartition("/")[2]], **schema}


def examples_of(document: dict[str, Any], holder: dict[str, Any]) -> list[Any]:
    """The examples of a parameter or of a media type: its own, or its schema's."""
    if "example" in holder:
        return [holder["example"]]
    if "examples" in holder:
        return [example["value"] for example in holder["examples"].values()]
    schema = resolved(document, holder.get("schema", {}))
    found = schema.get("examples", [schema["example"]] if "example" in schema else [])
    for alternative in schema.get("anyOf", []):
        found = found or resolved(document, alternative).get("examples", [])
    return list(found)


def shown(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that must have an example, with its place."""
    for place, operation in operations(document):
        for parameter in operation.get("parameters", []):
            yield f"{place} {parameter['in']} {parameter['name']}", parameter
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{place} request {kind}", media
        for status, response in operation["responses"].items():
            for kind, media in response.get("content", {}).items():
                yield f"{place} {status} {kind}", media


def test_everything_has_an_example(document: dict[str, Any]) -> None:
    missing = [place for place, holder in shown(document) if not examples_of(document, holder)]
    assert not missing, "\n".join(missing)


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    wrong = []
    for place, holder in shown(document):
        schema = {**holder["schema"], "components": document["components"]}
        validator = jsonschema_rs.Draft202012Validator(schema)
        for example in examples_of(document, holder):
            if not validator.is_valid(example):
                wrong.append(f"{place}: {next(iter(validator.iter_errors(example))).message}")
    assert not wrong, "\n".join(wrong)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = []
    for place, operation in operations(document):
        assert operation.get("summary"), place
        assert operation.get("description"), place
        assert set(operation["tags"]) <= tags, place
        assert any(status.startswith("2") for status in operation["responses"]), place
        for response in operation["responses"].values():
            assert response["description"], place
        names.append(operation["operationId"])
    assert len(set(names)) == len(names)


def test_every_operation_of_v1_names_its_key_and_its_problems(document: dict[str, Any]) -> None:
    for place, operation in operations(document):
        if "/v1/" not in place:
            continue
        assert operation["security"] == [{"key": []}], place
        needed = {"401", "403", "422", "503"} | ({"400", "413"} if "requestBody" in operation else set())
        assert needed <= operation["responses"].keys(), (place, needed - operation["responses"].keys())
        for status, response in operation["responses"].items():
            if status >= "400":
                assert set(response["content"]) == {"application/problem+json"}, (place, status)
            if status in ("429", "503"):
                assert "Retry-After" in response["headers"], place


async def test_the_document_is_served_without_a_key(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json", headers={"Authorization": ""})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["openapi"].startswith("3.1")


async def test_the_open_routes_answer_without_a_key(client: httpx.AsyncClient) -> None:
    for path, kind in (("/livez", "text/plain"), ("/readyz", "text/plain"), ("/metrics", "text/plain"),
                       ("/docs", "text/html")):  # fmt: skip
        answer = await client.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
