"""
What may change in a public event, and what may not.

A topic keeps thirty days of events, so both ways count: who knows an earlier schema reads what is
sent today, and who knows today's reads what was sent then. `RULES` is the whole of it. A change
that they forbid is a new event type, with the next major version.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

Schema = Mapping[str, Any]


class Change(Enum):
    """What one schema differs from another in."""

    FIELD_ADDED = "a field is new"
    WORD_ADDED = "a closed set has one more word"
    WORDING = "titles and descriptions"
    FIELD_REMOVED = "a field is gone, or has another name"
    REQUIRED = "a field must be there that did not have to be"
    NOT_REQUIRED = "a field may be missing that had to be there"
    RETYPED = "a field has another type"
    WORD_REMOVED = "a closed set lacks a word"
    BOUNDS = "other bounds or another pattern"
    TOPIC = "it stands on another topic"
    EVENT_REMOVED = "the event is gone"


#: Whoever knows the other schema still reads it; why.
COMPATIBLE: dict[Change, str] = {
    Change.FIELD_ADDED: "whoever does not know it passes over it",
    Change.WORD_ADDED: "an unknown word is one more that a subscriber does not act on",
    Change.WORDING: "nothing that is sent differs",
}
#: Somebody would be broken; who.
FORBIDDEN: dict[Change, str] = {
    Change.FIELD_REMOVED: "somebody reads it",
    Change.REQUIRED: "the events of the last thirty days lack it",
    Change.NOT_REQUIRED: "somebody takes it for granted",
    Change.RETYPED: "somebody's code has the type",
    Change.WORD_REMOVED: "the events of the last thirty days have it",
    Change.BOUNDS: "somebody's column, or check, has the old ones",
    Change.TOPIC: "somebody listens there",
    Change.EVENT_REMOVED: "somebody waits for it",
}

#: Where a change is, and which.
Found = tuple[str, Change]
_BOUNDS = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
    "pattern", "minItems", "maxItems",
)  # fmt: skip


def forbidden(before: Schema, after: Schema) -> list[str]:
    """Return, in words, what of the changes from *before* to *after* breaks the contract."""
    return [
        f"{where}: {change.value}, and {FORBIDDEN[change]}"
        for where, change in changes(before, after)
        if change in FORBIDDEN
    ]


def changes(before: Schema, after: Schema) -> Iterator[Found]:
    """Yield what *after* has changed, and where."""
    name = str(before.get("$id", "event"))
    if before.get("x-topic") != after.get("x-topic"):
        yield name, Change.TOPIC
    yield from _Pair(before, after).compare(before, after, name)


class _Pair:
    """Two documents, each with definitions of its own."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self._before = before.get("$defs", {})
        self._after = after.get("$defs", {})

    def compare(self, before: Schema, after: Schema, where: str) -> Iterator[Found]:
        before, after = _followed(before, self._before), _followed(after, self._after)
        if any(before.get(word) != after.get(word) for word in ("title", "description")):
            yield where, Change.WORDING
        if "anyOf" in before or "anyOf" in after:
            yield from self._choices(before, after, where)
            return
        if _kind(before) != _kind(after):
            yield where, Change.RETYPED
            return
        yield from _words(before, after, where)
        if any(before.get(bound) != after.get(bound) for bound in _BOUNDS):
            yield where, Change.BOUNDS
        yield from self._fields(before, after, where)
        if "items" in before and "items" in after:
            yield from self.compare(before["items"], after["items"], f"{where}[]")

    def _choices(self, before: Schema, after: Schema, where: str) -> Iterator[Found]:
        """One of several types: the same ones, each compared with its like."""
        old = {_kind(each): each for each in _options(before, self._before)}
        new = {_kind(each): each for each in _options(after, self._after)}
        if old.keys() != new.keys():
            yield where, Change.RETYPED
            return
        for kind, each in old.items():
            yield from self.compare(each, new[kind], where)

    def _fields(self, before: Schema, after: Schema, where: str) -> Iterator[Found]:
        old, new = before.get("properties", {}), after.get("properties", {})
        must, must_now = set(before.get("required", ())), set(after.get("required", ()))
        for field in old:
            here = f"{where}.{field}"
            if field not in new:
                yield here, Change.FIELD_REMOVED
                continue
            if field in must_now - must:
                yield here, Change.REQUIRED
            if field in must - must_now:
                yield here, Change.NOT_REQUIRED
            yield from self.compare(old[field], new[field], here)
        for field in new.keys() - old.keys():
            yield f"{where}.{field}", Change.REQUIRED if field in must_now else Change.FIELD_ADDED


def _words(before: Schema, after: Schema, where: str) -> Iterator[Found]:
    old, new = set(before.get("enum", ())), set(after.get("enum", ()))
    if old - new:
        yield where, Change.WORD_REMOVED
    if new - old:
        yield where, Change.WORD_ADDED


def _followed(node: Schema, definitions: Schema) -> Schema:
    while "$ref" in node:
        node = definitions[str(node["$ref"]).rpartition("/")[2]]
    return node


def _options(node: Schema, definitions: Schema) -> list[Schema]:
    return [_followed(each, definitions) for each in node.get("anyOf", (node,))]


def _kind(node: Schema) -> str:
    """What a value is, as far as another type is another thing."""
    if "enum" in node:
        return "word"
    return str(node.get("type", "any"))
