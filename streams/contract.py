"""
The public contract: what stands on `order-events`, `stock-events` and `channel-events`, as JSON
Schema.

One document an event type, generated from the words in `schemas/`, so it cannot say anything else
than what is sent; `EpochAnnounced` is an operator's and stands on the two that keepers write. A
subscriber may rely on every field it finds here; it must not mind new ones:
types only ever gain optional fields, and a name is never used again. A change that breaks this is
a new type with the next major version (`streams/compatibility.py` has the rules).

`asyncapi` is the map of it all: which topic, which key, which headers, which events. `publish`
writes both into a folder and keeps every version of every schema there, so that no change can
break what somebody was once promised.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import json

from agents.letters import CE_CHANNELS, CE_OPERATOR, CE_TYPE, Form
from schemas.channels import ChannelEvent
from schemas.epochs import EpochAnnounced
from streams.compatibility import Change, forbidden
from streams.topics import TOPICS, Topic
from streams.topology import LISTENERS, ROUTES

#: Within a folder of published events: the map, and every schema's versions.
ASYNCAPI, VERSIONS = "asyncapi.json", "versions"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return event type (`com.orderflow.order.reserved.v1`) -> JSON Schema of its data."""
    return dict(sorted(_documents()))


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the public topics; payloads are the schemas beside it."""
    told = schemas()
    topics = {topic.name: topic for topic in TOPICS}
    channels: dict[str, list[str]] = {}
    for name, document in told.items():
        for topic in document["x-topic"].split(", "):
            channels.setdefault(topic, []).append(name)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "orderflow: public events",
            "version": "1.0.0",
            "description": "What is told of orders, stock and channels: CloudEvents 1.0 in binary "
            "mode on Kafka. docs/subscribing.md says how to hear each event exactly once.",
        },
        "defaultContentType": "application/json",
        "channels": {
            topic: _channel(topics[topic], names) for topic, names in sorted(channels.items())
        },
        "operations": {
            f"tell-{topic}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{topic}"},
                "summary": f"What {_teller(topic)} tells.",
            }
            for topic in sorted(channels)
        },
        "components": {"messages": {name: _message(name, told[name]) for name in told}},
    }


def _teller(topic: str) -> str:
    """Who writes a public topic."""
    keepers = [each.name for each in LISTENERS.values() if topic in {t.name for t in each.writes}]
    return f"the keeper of {keepers[0]}" if keepers else "the poller"


def _channel(topic: Topic, names: list[str]) -> dict[str, Any]:
    config = topic.config
    return {
        "address": topic.name,
        "description": f"Key: {topic.key}. One key is one partition, in order.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": int(config["retention.ms"]),
                    "max.message.bytes": int(config["max.message.bytes"]),
                },
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(name: str, document: dict[str, Any]) -> dict[str, Any]:
    kind = document["title"]
    described = document["$defs"][kind].get("description", kind)
    return {
        "name": name,
        "title": kind,
        "summary": described.strip().partition("\n")[0],
        "contentType": "application/json",
        "headers": _headers(name, kind),
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{name}.json"},
        },
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": "0.5.0"}},
    }


def _headers(name: str, kind: str) -> dict[str, Any]:
    """Return the schema of an event's CloudEvents headers, all of which are text."""
    unnumbered = {EpochAnnounced.__name__: CE_OPERATOR} | dict.fromkeys(
        (each.__name__ for each in ChannelEvent.__subclasses__()), CE_CHANNELS
    )
    headers: dict[str, Any] = {
        "ce_specversion": {"const": "1.0"},
        "ce_type": {"const": name},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"const": "application/json"},
    }
    if kind in unnumbered:
        headers["ce_source"] = {"const": unnumbered[kind]}
        headers["ce_id"] = {"type": "string", "description": "The same event has the same id."}
    else:
        digits = {"type": "string", "pattern": "^[0-9]{20}$"}
        headers["ce_source"] = {"type": "string", "pattern": "^/orderflow/[a-z]+/e[0-9]+/p[0-9]+$"}
        headers["ce_id"] = digits
        headers["ce_sequence"] = digits | {
            "description": "Runs 1, 2, 3 … for each ce_source, without a gap."
        }
    return {"type": "object", "required": sorted(headers), "properties": headers}


def kept(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return event type -> every version of its schema that was ever published, oldest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((folder / VERSIONS).glob("*/*.json"), key=lambda each: int(each.stem)):
        document = json.decode(file.read_bytes())
        found.setdefault(file.parent.name, []).append(document)
    return found


def broken(documents: dict[str, dict[str, Any]], folder: Path) -> list[str]:
    """Return, in words, where *documents* break what an earlier version in *folder* promised."""
    found: list[str] = []
    for name, versions in kept(folder).items():
        if name not in documents:
            found.append(f"{name}: {Change.EVENT_REMOVED.value}")
            continue
        for number, version in enumerate(versions, 1):
            found += [f"version {number}, {why}" for why in forbidden(version, documents[name])]
    return list(dict.fromkeys(found))


def publish(folder: Path) -> list[str]:
    """
    Write schemas and map into *folder*; return what forbids it, and then nothing is written.

    A schema that differs from its latest version becomes the next one, in `versions/`.
    """
    documents = schemas()
    if why := broken(documents, folder):
        return why
    versions = kept(folder)
    for name, document in documents.items():
        known = versions.get(name, [])
        text = text_of(document)
        if not known or text_of(known[-1]) != text:
            into = folder / VERSIONS / name / f"{len(known) + 1}.json"
            into.parent.mkdir(parents=True, exist_ok=True)
            into.write_text(text, encoding="utf-8")
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / ASYNCAPI).write_text(text_of(asyncapi()), encoding="utf-8")
    return []


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
