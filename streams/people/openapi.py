"""The OpenAPI document of the operations API, from the table of its operations."""

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, json

from streams.operations.operation import Operation
from streams.operations.rights import RIGHTS

_PARAMETER = re.compile(r"{(\w+)(?::(\w+))?}")
#: What stands for a number in a path has digits only.
_WHOLE = {"type": "integer", "minimum": 0}
_ANSWERS = {
    "400": "It cannot be asked like that; the sentence says why. Nothing was changed",
    "401": "No key, or one that is not known",
    "403": "The operator's role does not have the right",
    "404": "There is no such thing",
    "409": "It cannot be done as things stand; nothing was changed",
    "503": "PostgreSQL or Kafka does not answer; ask again after Retry-After seconds",
}
#: Of a body that was not read.
_OF_BODIES = {
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "The body has a content encoding",
}
_SAID = {"application/json": {"schema": {"type": "object"}}}
_FILE = {"text/csv": {"schema": {"type": "string"}}}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document."""
    kinds = [kind for each in operations if (kind := each.body or each.query) is not None]
    schemas, components = json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(_PARAMETER.sub(r"{\1}", each.path), {})[each.method.lower()] = _one(
            each, of, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orderflow: operations",
            "version": "1",
            "description": "Exceptions, pauses, and what else people do. Every change has a "
            "reason, and stays in a trail with the operator's name.",
        },
        "security": [{"operatorKey": []}],
        "paths": paths,
        "components": {
            "schemas": {
                **components,
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {"error": {"type": "string"}},
                },
            },
            "securitySchemes": {"operatorKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _one(
    operation: Operation, of: dict[type[Struct], Any], components: dict[str, Any]
) -> dict[str, Any]:
    has_body = operation.body is not None or operation.takes_file
    roles = ", ".join(role.value for role, rights in RIGHTS.items() if operation.needs in rights)
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Right `{operation.needs.value}`: {roles}.",
        "parameters": [
            *(
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "schema": _WHOLE if kind == "int" else {"type": "string"},
                }
                for name, kind in _PARAMETER.findall(operation.path)
            ),
            *_queries(operation, components),
        ],
        "responses": {
            "202" if operation.begins else "200": {
                "description": "Begun" if operation.begins else "Done",
                "content": _FILE if operation.gives_file else _SAID,
            },
            **{
                status: {
                    "description": why,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                }
                for status, why in (_ANSWERS | (_OF_BODIES if has_body else {})).items()
            },
        },
    }
    if operation.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": of[operation.body]}},
        }
    if operation.takes_file:
        found["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
        }
    return found


def _queries(operation: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = components[operation.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]
