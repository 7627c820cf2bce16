"""Requests made up from the OpenAPI document, right ones and wrong: answers are those it describes, none is a 5xx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving_tests import Server

from analect.server.settings import ServerSettings

EXAMPLES = 25
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_answers_are_those_that_the_document_describes(serve: Callable[..., Server], mode: GenerationMode) -> None:
    server = serve(limits=ServerSettings(body_seconds=5))
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    called = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # any path and query can be read
        cases = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases)
        def check(case: Any) -> None:
            response = case.call(base_url=server.url, timeout=30)
            called.add((case.method, case.path))
            assert response.status_code < 500, (case.method, case.path, case.body, response.text)
            case.validate_response(response, checks=CHECKS)

        check()
    assert len(called) >= 7
