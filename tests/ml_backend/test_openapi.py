"""The service under requests made from its own OpenAPI document, good and bad ones: never an error of ours."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from service_maker import BASIC, planned

from robopref.service import create_app

EXAMPLES = 25
"""For each operation that takes a body, as the document says and as it does not; those without get two."""

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def document(tmp_path, database_url):
    ws = planned(tmp_path, f"database = '{database_url}'\n")
    yield schemathesis.openapi.from_wsgi("/openapi.json", create_app(ws), headers=BASIC)
    ws.store.close()


def test_no_request_that_can_be_thought_of_ends_in_an_error_of_ours(document):
    """Each answer has a status and a form that the document knows, on SQLite and on PostgreSQL."""
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()
        modes = [GenerationMode.POSITIVE, *([GenerationMode.NEGATIVE] if operation.body else [])]
        for mode in modes:
            count = EXAMPLES if operation.body else 2

            @settings(
                max_examples=count,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def answered(case):
                response = case.call(headers=BASIC)
                assert response.status_code < 500, (case.as_curl_command(), response.text)
                case.validate_response(response, checks=CHECKS)

            answered()
            tried += count
    assert tried >= 5 * EXAMPLES
