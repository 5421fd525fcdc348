"""
The public contract: a map that AsyncAPI's own schema accepts, examples that keep to it, and no
change that would break what an earlier version promised.
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streams.compatibility import COMPATIBLE, FORBIDDEN, Change, changes, forbidden
from streams.contract import ASYNCAPI, asyncapi, broken, kept, publish, schemas, text_of
from tests.examples import EXAMPLES, examples
from tests.examples import text_of as text_of_example

EVENTS = EXAMPLES.parent
OFFICIAL = Path(__file__).parent / "vendored" / "asyncapi-3.0.0.json"
RESERVED = "com.orderflow.order.reserved.v1"


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(OFFICIAL.read_text(encoding="utf-8")))


# --- the map --------------------------------------------------------------------------------------


def test_the_published_map_is_the_one_the_topology_makes() -> None:
    published = (EVENTS / ASYNCAPI).read_text(encoding="utf-8")

    assert published == text_of(asyncapi()), "stale: `orderflow events --into docs/events`"


def test_asyncapis_own_schema_accepts_the_map(official: jsonschema.Draft7Validator) -> None:
    official.validate(asyncapi())


def test_asyncapis_own_schema_can_refuse(official: jsonschema.Draft7Validator) -> None:
    document = asyncapi()
    document["operations"]["tell-order-events"]["action"] = "shout"

    with pytest.raises(jsonschema.ValidationError):
        official.validate(document)


def test_the_map_leads_to_every_event_and_to_nothing_else() -> None:
    document, told = asyncapi(), schemas()
    named = {name for channel in document["channels"].values() for name in channel["messages"]}

    assert named == set(told) == set(document["components"]["messages"])
    for name, message in document["components"]["messages"].items():
        assert (EVENTS / message["payload"]["schema"]["$ref"]).resolve().is_file(), name
    topics = {topic for each in told.values() for topic in each["x-topic"].split(", ")}
    assert {channel["address"] for channel in document["channels"].values()} == topics


# --- examples -------------------------------------------------------------------------------------


def test_there_is_an_example_of_every_event_and_the_keepers_made_it() -> None:
    published = {file.stem: file.read_text(encoding="utf-8") for file in EXAMPLES.glob("*.json")}

    assert published.keys() == schemas().keys()
    assert published == {name: text_of_example(each) for name, each in examples().items()}, (
        "stale: `python -m tests.examples`"
    )


@pytest.mark.parametrize("name", sorted(schemas()))
def test_an_example_keeps_to_its_schema_and_its_headers_to_the_map(name: str) -> None:
    example = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    message = asyncapi()["components"]["messages"][name]

    jsonschema.Draft202012Validator(schemas()[name]).validate(example["data"])
    jsonschema.Draft202012Validator(message["headers"]).validate(example["headers"])
    assert name in asyncapi()["channels"][example["topic"]]["messages"]


@pytest.mark.parametrize("name", sorted(schemas()))
def test_an_example_is_read_by_every_earlier_schema(name: str) -> None:
    example = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))

    for version in kept(EVENTS)[name]:
        jsonschema.Draft202012Validator(version).validate(example["data"])


# --- earlier versions -----------------------------------------------------------------------------


def test_todays_schemas_break_no_earlier_version_and_are_kept_themselves() -> None:
    assert broken(schemas(), EVENTS) == []

    latest = {name: text_of(versions[-1]) for name, versions in kept(EVENTS).items()}
    today = {name: text_of(document) for name, document in schemas().items()}
    assert latest == today, "a version was not kept: `orderflow events --into docs/events`"


def test_some_event_has_a_history() -> None:
    """With one version each there would be nothing to compare."""
    assert max(len(versions) for versions in kept(EVENTS).values()) > 1


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["$defs"][document["title"]]
    return found


def _add(document: dict[str, Any]) -> None:
    _fields(document)["properties"]["picked_by"] = {"type": "string"}


def _add_required(document: dict[str, Any]) -> None:
    _add(document)
    _fields(document)["required"].append("picked_by")


def _remove(document: dict[str, Any]) -> None:
    del _fields(document)["properties"]["short"]


def _rename(document: dict[str, Any]) -> None:
    properties = _fields(document)["properties"]
    properties["missing"] = properties.pop("short")


def _retype(document: dict[str, Any]) -> None:
    _fields(document)["properties"]["attempt"] = {"type": "string"}


def _widen(document: dict[str, Any]) -> None:
    _fields(document)["properties"]["attempt"] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def _require(document: dict[str, Any]) -> None:
    _fields(document)["required"].append("short")


def _require_no_more(document: dict[str, Any]) -> None:
    _fields(document)["required"].remove("attempt")


def _add_word(document: dict[str, Any]) -> None:
    document["$defs"]["Status"]["enum"].append("LOST_AT_SEA")


def _remove_word(document: dict[str, Any]) -> None:
    document["$defs"]["Status"]["enum"].remove("PAID")


def _retype_within(document: dict[str, Any]) -> None:
    document["$defs"]["Short"]["properties"]["wanted"] = {"type": "number"}


def _bound(document: dict[str, Any]) -> None:
    _fields(document)["properties"]["attempt"]["maximum"] = 9


def _move(document: dict[str, Any]) -> None:
    document["x-topic"] = "orders"


def _reword(document: dict[str, Any]) -> None:
    _fields(document)["description"] = "Yes."


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_add, Change.FIELD_ADDED),
        (_add_word, Change.WORD_ADDED),
        (_reword, Change.WORDING),
        (_add_required, Change.REQUIRED),
        (_remove, Change.FIELD_REMOVED),
        (_rename, Change.FIELD_REMOVED),
        (_retype, Change.RETYPED),
        (_retype_within, Change.RETYPED),
        (_widen, Change.RETYPED),
        (_require, Change.REQUIRED),
        (_require_no_more, Change.NOT_REQUIRED),
        (_remove_word, Change.WORD_REMOVED),
        (_bound, Change.BOUNDS),
        (_move, Change.TOPIC),
    ],
    ids=lambda each: each.__name__.strip("_") if callable(each) else each.name,
)
def test_a_planted_change_is_seen_and_told_apart(change: Any, kind: Change) -> None:
    before = schemas()[RESERVED]
    after = deepcopy(before)
    change(after)

    assert kind in {found for _, found in changes(before, after)}
    assert bool(forbidden(before, after)) is (kind in FORBIDDEN)


def test_every_change_is_either_compatible_or_forbidden() -> None:
    assert COMPATIBLE.keys() | FORBIDDEN.keys() == set(Change)
    assert not COMPATIBLE.keys() & FORBIDDEN.keys()


def test_a_break_of_any_version_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publish(tmp_path) == []
    first = {file: file.read_bytes() for file in tmp_path.rglob("*.json")}
    changed = schemas()
    _remove(changed[RESERVED])
    monkeypatch.setattr("streams.contract.schemas", lambda: changed)

    why = publish(tmp_path)

    assert len(why) == 1
    assert f"{RESERVED}.short: a field is gone" in why[0]
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.json")} == first


def test_a_compatible_change_is_kept_as_the_next_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    changed = schemas()
    _add(changed[RESERVED])
    monkeypatch.setattr("streams.contract.schemas", lambda: changed)

    assert publish(tmp_path) == []

    assert [len(versions) for versions in kept(tmp_path).values()].count(2) == 1
    assert text_of(kept(tmp_path)[RESERVED][-1]) == text_of(changed[RESERVED])


def test_an_event_that_is_gone_is_a_break(tmp_path: Path) -> None:
    publish(tmp_path)
    left = schemas()
    del left[RESERVED]

    assert broken(left, tmp_path) == [f"{RESERVED}: the event is gone"]
