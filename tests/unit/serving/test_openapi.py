"""Whatever fits the OpenAPI document, and whatever does not, is answered; none of it is an error of the server."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error

from poolwise.serving import ServeSettings, create_app

KEY = "a-key"
CASES = 15
QUIET = list(HealthCheck)


@pytest.fixture
def schema(served: Any) -> Any:
    app = create_app({"tiny": served}, ServeSettings(keys=(KEY,)), open_paths=["/openapi.json"])
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_generated_requests_are_no_error_of_the_server(schema: Any) -> None:
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {operation.label for operation in operations} >= {"POST /v1/embeddings", "POST /v2/embed", "GET /info"}
    statuses = set()

    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=CASES, deadline=None, database=None, derandomize=True, suppress_health_check=QUIET)
        def ask(case: Any) -> None:
            if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
                case.body["model"] = "tiny"  # else hardly any request would get beyond its model
            answer = case.call_and_validate(headers={"authorization": f"Bearer {KEY}"}, checks=[not_a_server_error])
            statuses.add(answer.status_code)

        ask()
    assert statuses == {200, 400, 404, 409} or statuses == {200, 400, 404}


def test_the_document_describes_the_bodies(schema: Any) -> None:
    embeddings = schema.raw_schema["paths"]["/v1/embeddings"]["post"]["requestBody"]["content"]["application/json"]
    assert set(embeddings["schema"]["properties"]) == {
        "model", "input", "encoding_format", "dimensions", "user", "input_type"
    }  # fmt: skip
    assert "/v2/embed" in schema.raw_schema["paths"]
