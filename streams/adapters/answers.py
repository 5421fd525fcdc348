"""
What platforms wrap their orders in: an answer's layers taken off, down to the things it holds.

An API answers with a root named after the method, a result, a list, a list's member; a detail has
one layer less, a page one more, and the names of the layers come in both spellings. An adapter
names the layers it knows; what is left is an order, an after-sale or a message, with its path. A
page that counts none holds nothing; a layer that is missing where it has to be is refused.
"""

import re
from collections.abc import Iterator
from typing import Final

from schemas.base import ID_LENGTH_MAX
from schemas.errors import MalformedPayload
from streams.adapters.reading import Json, as_object, text

#: The roots of API answers; the misspelling is one platform's own.
_ROOTS: Final = ("_response", "_responce")
#: Where a page says how many orders there are, in plain spelling.
_COUNTS: Final = frozenset({"ordertotal", "totalcount", "total"})
#: A page without orders may spell its list as null; any other layer has to be there.
_MAY_BE_NULL: Final = ("list", "result", "results")
#: Deeper than any platform wraps; what nests further is no answer.
_LAYERS_MAX: Final = 8


def plain(name: str) -> str:
    """Return *name* in the one spelling that `order_info` and `orderInfo` share."""
    return name.replace("_", "").lower()


def things(
    value: object, layers: frozenset[str], marks: frozenset[str] = frozenset(), path: str = ""
) -> Iterator[tuple[str, Json]]:
    """
    Return each thing in *value* with the path of its fields, all *layers* (plain names) taken off.

    What has one of *marks* is a thing itself, whatever else it holds.
    """
    return _things(value, layers, marks, path, 0)


def _things(
    value: object, layers: frozenset[str], marks: frozenset[str], path: str, depth: int
) -> Iterator[tuple[str, Json]]:
    if depth > _LAYERS_MAX:
        raise MalformedPayload(path, f"nested deeper than {_LAYERS_MAX} layers")
    if isinstance(value, list):
        for i, part in enumerate(value):
            place = f"{path}[{i}]"
            yield from _things(as_object(part, place), layers, marks, place, depth + 1)
        return
    body = as_object(value, path or "payload")
    inside = [] if marks & body.keys() else _layers_of(body, layers, path)
    if not inside and not (path and _counts_none(body)):
        yield (path + "." if path else ""), body
    for key in inside:
        if body[key] is not None or not plain(key).endswith(_MAY_BE_NULL):
            place = f"{path}.{key}" if path else key
            yield from _things(body[key], layers, marks, place, depth + 1)


def _layers_of(body: Json, layers: frozenset[str], path: str) -> list[str]:
    if "error_response" in body:
        at = f"{path}." if path else ""
        raise MalformedPayload(at + "error_response", "the platform answered with an error")
    return [key for key in body if key.endswith(_ROOTS) or plain(key) in layers]


def _counts_none(body: Json) -> bool:
    return any(plain(key) in _COUNTS and str(value) == "0" for key, value in body.items())


def text_id(source: Json, key: str, at: str, rule: re.Pattern[str]) -> str:
    """Return an id that is a text and follows the platform's *rule*; it has to be there."""
    found = text(source, key, at, ID_LENGTH_MAX)
    if found is None:
        raise MalformedPayload(at + key, "the id is missing")
    if not rule.fullmatch(found):
        raise MalformedPayload(at + key, f"{found[:40]!r} is not an id of this platform")
    return found
