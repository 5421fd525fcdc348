"""Who may do what over HTTP: every operation has a right, and every change a reason."""

import json

import pytest
from msgspec import Struct

from streams.operations.operation import Change, Operation, Operator
from streams.operations.rights import RIGHTS, Right, Role
from streams.people import openapi, web

CHANGING = [each for each in web.operations() if each.method != "GET"]


def test_every_role_has_its_rights_and_only_three_see_the_person() -> None:
    assert set(RIGHTS) == set(Role)
    assert RIGHTS[Role.ADMIN] == frozenset(Right)
    may = {role for role in Role if Operator("mei", role).may(Right.SEE_PERSONAL)}
    assert may == {Role.SERVICE, Role.OPERATIONS, Role.ADMIN}
    assert RIGHTS[Role.VIEWER] == {Right.LOOK}


@pytest.mark.parametrize("operation", CHANGING, ids=lambda each: each.path)
def test_whatever_changes_something_takes_a_reason_and_more_than_a_look(
    operation: Operation,
) -> None:
    kind = operation.body or operation.query

    assert kind is not None
    assert issubclass(kind, Change)
    assert operation.needs is not Right.LOOK


async def _nothing(_request: object, _asked: object) -> None:
    return None


class Careless(Struct):
    """A body without a reason."""


@pytest.mark.parametrize("query", [None, Careless])
def test_a_change_without_a_reason_cannot_be_declared(query: type[Struct] | None) -> None:
    with pytest.raises(AssertionError, match="without a reason"):
        Operation("POST", "/x", _nothing, needs=Right.LOOK, summary="x", query=query)


def test_no_two_operations_have_one_address_or_one_name() -> None:
    operations = web.operations()

    assert len({(each.method, each.path) for each in operations}) == len(operations)
    assert len({each.name for each in operations}) == len(operations)


def test_the_document_has_every_operation_and_what_it_asks() -> None:
    document = json.loads(json.dumps(openapi.document(web.operations())))

    ids = {each["operationId"] for path in document["paths"].values() for each in path.values()}
    assert ids == {each.name for each in web.operations()}
    for path, operations in document["paths"].items():
        for method, each in operations.items():
            named = {one["name"] for one in each["parameters"] if one["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert ("requestBody" in each) == (method == "post")
    body = document["components"]["schemas"]["Edit"]
    assert set(body["required"]) == {"reason", "message", "edits"}
    assert body["additionalProperties"] is False
