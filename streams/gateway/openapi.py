"""The OpenAPI document of `POST /v1/orders`, its schemas generated from the types that read it."""

from functools import cache
from typing import Any

from msgspec import json

from streams.adapters.mall import MallOrder
from streams.gateway.orders import KEY_LENGTH_MAX
from streams.gateway.requests import BODY_BYTES_MAX

_SENTENCE = {"text/plain": {"schema": {"type": "string"}}}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    (order,), components = json.schema_components(
        [MallOrder], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "orderflow: orders of the own mall",
            "version": "1",
            "description": "Orders in the unified schema. Platforms' webhooks have an address of "
            "their own, /v1/webhooks/{platform}/{shop}, and their own formats.",
        },
        "paths": {"/v1/orders": {"post": _post(order)}},
        "components": {
            "schemas": {**_closed(components), "Accepted": _ACCEPTED},
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer"}},
        },
    }


def _closed(components: dict[str, Any]) -> dict[str, Any]:
    """Say that a field nobody knows is refused."""
    return {name: {**part, "additionalProperties": False} for name, part in components.items()}


_ACCEPTED = {
    "type": "object",
    "required": ["order", "message"],
    "properties": {
        "order": {"type": "string", "description": "the order's key here: mall:shop:id"},
        "message": {"type": "string", "description": "where it is kept: topic/partition/offset"},
    },
}


def _post(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": "takeOrder",
        "summary": "Take an order, or what has changed of one",
        "security": [{"apiKey": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key and body have the same answer for 24 hours, and the "
                "order is taken once; the same key with another body is refused.",
                "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": order}}},
        "responses": {
            "202": {
                "description": "The broker has the order",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}
                },
            },
            "400": _no("The body is no JSON, or a header is wrong"),
            "401": _no("No API key, or one that is not known"),
            "408": _no("The request did not arrive in time"),
            "409": _no("A request with this Idempotency-Key is under way", _RETRY_AFTER),
            "413": _no(f"The body has more than {BODY_BYTES_MAX} bytes"),
            "415": _no("The body has a content encoding"),
            "422": _no("A field is wrong, or the Idempotency-Key was used for another body"),
            "503": _no("Not taken: the broker or Redis is away", _RETRY_AFTER),
        },
    }


def _no(description: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"description": description, "content": _SENTENCE, "headers": headers or {}}
