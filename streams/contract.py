"""
The public contract: what stands on `order-events`, `stock-events` and `channel-events`, as JSON
Schema.

One document an event type, generated from the words in `schemas/`, so it cannot say anything else
than what is sent; `EpochAnnounced` is an operator's and stands on the two that keepers write. A
subscriber may rely on every field it finds here; it must not mind new ones:
types only ever gain optional fields, and a name is never used again. A change that breaks this is
a new type with the next major version.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import json

from agents.letters import CE_TYPE, Form
from schemas.epochs import EpochAnnounced
from streams.topology import ROUTES

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return event type (`com.orderflow.order.reserved.v1`) -> JSON Schema of its data."""
    return dict(sorted(_documents()))


def text_of(document: object) -> str:
    """Return *document* as it stands in a file."""
    return json.format(json.encode(document), indent=2).decode() + "\n"


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    told = {kind: route.topic for kind, route in ROUTES.items() if route.form is Form.EVENT}
    keepers = [topic for kind, topic in told.items() if ROUTES[kind].home]
    everywhere = ", ".join(dict.fromkeys(keepers))
    for kind, topic in (told | {EpochAnnounced: everywhere}).items():
        name = CE_TYPE.format(kind.__struct_config__.tag)  # type: ignore[attr-defined]
        document = json.schema(kind)
        yield (
            name,
            {
                "$schema": DRAFT,
                "$id": name,
                "x-topic": topic,
                "title": kind.__name__,
                **document,
            },
        )
