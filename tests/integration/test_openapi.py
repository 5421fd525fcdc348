"""
The HTTP APIs hold what their OpenAPI documents say, whatever is asked: schemathesis on the real
processes. Whatever comes, it is never our mistake, and nothing of how the house is built is told.

The seed is printed with what fails, and stands here: the same examples every time.
"""

import asyncio
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streams.gateway.openapi import document as of_the_gateway
from streams.operations.rights import Role
from streams.people.openapi import document as of_operations
from streams.people.web import operations as every_operation
from tests.installation import installation
from tests.integration.at_the_gate import (
    MALL_KEY,
    a_gate,
    a_prefix,
    shops_file,
    stack_settings,
    topics,
)
from tests.integration.test_operations import operations

pytestmark = pytest.mark.stack

SEED, EXAMPLES = 20261111, 50
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance,
    response_schema_conformance,
]  # fmt: skip
#: What tells how the house is built.
_INNER = re.compile(r"Traceback|asyncpg|aiokafka|postgres(ql)?://|File \"|ORDERFLOW_POSTGRES")


class Api(NamedTuple):
    """Where a document's operations are, and the key that may do them all."""

    url: str
    key: str


def of(document: dict[str, Any]) -> Any:
    """Every operation of a document."""
    found = [each.ok() for each in schemathesis.openapi.from_dict(document).get_all_operations()]
    return pytest.mark.parametrize("operation", found, ids=[each.label for each in found])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        made = installation(tmp_path_factory.mktemp("openapi"))
        house = runner.run(made.__aenter__())
        house.env["ORDERFLOW_IMPORT_FOLDER"] = str(house.folder / "uploads")
        try:
            with house.running("intake,orders,stock,ledger"), operations(house) as api:
                yield Api(api.url, api.key("everybody", Role.ADMIN))
        finally:
            runner.run(made.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder, there = tmp_path_factory.mktemp("door"), stack_settings(a_prefix())
    with topics(there), a_gate(there, shops_file(folder), folder / "gateway.log") as gate:
        yield Api(gate.url, MALL_KEY)


def ask(api: Api, operation: Any) -> None:
    """Ask what the document allows, and what it does not."""

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, print_blob=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        operation.as_strategy(GenerationMode.POSITIVE)
        | operation.as_strategy(GenerationMode.NEGATIVE)
    )
    def answers(case: schemathesis.Case) -> None:
        answer = case.call(base_url=api.url, headers={"authorization": f"Bearer {api.key}"})
        case.validate_response(answer, checks=CHECKS)
        assert not _INNER.search(answer.text), answer.text[:500]

    print(f"seed {SEED}, {EXAMPLES} examples")
    answers()


@of(of_operations(every_operation()))
def test_the_operations_api_answers_as_its_document_says(desk: Api, operation: Any) -> None:
    ask(desk, operation)


@of(of_the_gateway())
def test_the_gateway_answers_as_its_document_says(door: Api, operation: Any) -> None:
    ask(door, operation)
