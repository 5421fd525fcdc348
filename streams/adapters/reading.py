"""
Strict readers: one field of a decoded JSON object, or a MalformedPayload that names the field.

Every reader takes the object, the key, and *at*, the path of the object with its final dot
(`orders.order[1].`), which is only put together when something is wrong. They promise:

- an id keeps its digits: a number beyond 2^63 or one with a fraction is refused, not rounded;
- money never becomes binary floating point: it is read from its decimal digits;
- None is "not said", in every spelling the platforms use for null; nothing is ever made up;
- a text can be stored: no NUL, no lone surrogate, no longer than its named limit.

Of a key that stands twice in one object with two values neither is believed: which one counts is
each reader's choice, and a quantity must not depend on it.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC as UTC_ZONE
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson

from schemas.base import ID_LENGTH_MAX, LINES_MAX, MINOR_MAX, QUANTITY_MAX, Moment
from schemas.errors import MalformedPayload, Rejected, UndecodableMessage
from schemas.orders import Statement

Json = dict[str, Any]

#: The longest text (title, address, nick) that is kept.
TEXT_LENGTH_MAX: Final = 4_000
#: The longest native status word that is kept in a notice.
WORD_LENGTH_MAX: Final = 100
#: No order was placed before 1990 or after 2100; such a time is a wrong unit or a wrong zone.
EARLIEST_MS: Final = 631_152_000_000
LATEST_MS: Final = 4_102_444_800_000
#: From 1970 to 1998: 28 years, 7 of them leap years.
_YEARS_28_MS: Final = (28 * 365 + 7) * 86_400_000
#: How much of a wrong value a message repeats.
_SHOWN_MAX: Final = 40

#: So many texts of times are remembered with their reading: orders of one second share their times.
_KNOWN_MAX: Final = 4_096

BEIJING: Final = "Asia/Shanghai"
UTC: Final = "UTC"

BOM: Final = b"\xef\xbb\xbf"
_COLON: Final = b":"
#: How a colon may be written in a text instead, among others.
_ESCAPE: Final = b"\\"
_ESCAPED: Final = b"\\u003"
#: How a NUL is written, which no text is stored with.
_NUL: Final = b"\\u0000"
#: An id made of digits has no more, and is below this number.
DIGITS_MAX: Final = 20
_DIGITS = re.compile(rf"[0-9]{{1,{DIGITS_MAX}}}")
_IDS_END: Final = 10**DIGITS_MAX
_DECIMAL = re.compile(r"(-?)([0-9]{1,16})(?:\.([0-9]{1,12}))?")
_WHOLE_LENGTH_MAX: Final = 16
_NAIVE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_OFFSET = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)
#: Null, as the platforms spell it where a time should stand.
_NO_TIME: Final = frozenset({"", "0", "0001-01-01 00:00:00", "0000-00-00 00:00:00"})


class MoneyUnit(StrEnum):
    """How a platform writes money."""

    #: Yuan with two decimals, as a text.
    YUAN_TEXT = "yuan text"
    #: Hundredths of a yuan, as an integer.
    FEN = "fen"
    #: Main units of a named currency, as a text.
    DECIMAL_TEXT = "decimal text"
    #: Main units of a named currency, as a JSON number.
    DECIMAL_NUMBER = "decimal number"
    #: Minor units of a named currency, as an integer.
    MINOR = "minor units"


def _wrong(path: str, value: object, wanted: str) -> MalformedPayload:
    shown = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    if len(shown) > _SHOWN_MAX:
        shown = shown[:_SHOWN_MAX] + "…"
    return MalformedPayload(path, f"{shown} is not {wanted}")


# --- JSON ---------------------------------------------------------------------------------------


def decode(payload: bytes) -> Any:
    """Return the JSON in *payload*; a byte order mark before it is passed over."""
    try:
        body = orjson.loads(payload.removeprefix(BOM))
    except orjson.JSONDecodeError as error:
        if "surrogate" in str(error):
            raise _lone_surrogate(payload, error) from error
        raise UndecodableMessage(f"the body is not JSON: {error}") from error
    # A key that stood twice is there once now: what is the same bytes when written again had none.
    try:
        again = orjson.dumps(body)
    except TypeError as error:  # its depth is limited to 254
        raise UndecodableMessage("the body is nested too deeply") from error
    if again != payload:
        _refuse_twice(payload, again)
    return body


def _refuse_twice(payload: bytes, again: bytes) -> None:
    """Refuse a key with two values in *payload*, which is *again* in another spelling."""
    # Every key has its colon, and texts have theirs on both sides, unless one is escaped: so
    # counting them tells, as good as always, that none stood twice.
    # A search for one byte costs nothing beside one for five.
    escaped = _ESCAPE in payload and _ESCAPED in payload
    if payload.count(_COLON) != again.count(_COLON) or escaped:
        json.loads(payload.removeprefix(BOM), object_pairs_hook=_once)


def without_nul(payload: bytes) -> bool:
    """Say that no text in *payload* has a NUL in it, as good as always."""
    return _ESCAPE not in payload or _NUL not in payload


def _once(pairs: list[tuple[str, Any]]) -> Json:
    """Return the object of *pairs*; raises MalformedPayload for a key with two values."""
    found: Json = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise MalformedPayload(key[:_SHOWN_MAX], "it stands twice in one object, and differs")
        found[key] = value
    return found


def unpack(value: object, path: str) -> Any:
    """Return what *value* holds: JSON inside a text (TMC `content`, Douyin `data`), or opened."""
    if not isinstance(value, str):
        return value
    try:
        found = orjson.loads(value)
        again = orjson.dumps(found)
    except (orjson.JSONDecodeError, TypeError) as error:  # a TypeError: nested too deeply
        raise MalformedPayload(path, f"the text is not JSON: {error}") from error
    inside = value.encode()
    if again != inside:
        try:
            _refuse_twice(inside, again)
        except MalformedPayload as error:
            raise MalformedPayload(f"{path}.{error.field}", error.why) from error
    return found


def _lone_surrogate(payload: bytes, error: Exception) -> UndecodableMessage | MalformedPayload:
    """Return the error that names the field, which the fast reader does not know."""
    try:
        path = _surrogate_path(json.loads(payload.removeprefix(BOM)), "")
    except (ValueError, RecursionError):
        path = None
    if path is None:
        return UndecodableMessage(f"the body is not JSON: {error}")
    return MalformedPayload(path or "payload", "the text has half a character (lone surrogate)")


def _surrogate_path(value: object, path: str) -> str | None:
    if isinstance(value, str):
        return path if any("\ud800" <= character <= "\udfff" for character in value) else None
    if isinstance(value, dict):
        parts = [(f"{path}.{key}" if path else key, part) for key, part in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}[{place}]", part) for place, part in enumerate(value)]
    else:
        return None
    found = (_surrogate_path(part, where) for where, part in parts)
    return next((path for path in found if path is not None), None)


def as_object(value: object, path: str) -> Json:
    """Return *value*, which has to be an object."""
    if isinstance(value, dict):
        return value
    raise _wrong(path, value, "an object")


def as_list(value: object, path: str) -> list[Any]:
    """Return *value*, which has to be a list."""
    if isinstance(value, list):
        return value
    raise _wrong(path, value, "a list")


def bodies(payload: bytes) -> list[tuple[str, Json]]:
    """Return the objects in *payload*, one or a list of them, each with the path of its fields."""
    body = decode(payload)
    return _placed(body, "") if isinstance(body, list) else [("", as_object(body, "payload"))]


def within(source: Json, key: str, at: str) -> Json:
    """Return the object under *key*; one that is absent or null is empty."""
    value = source.get(key)
    if isinstance(value, dict):
        return value
    return {} if value is None else as_object(value, at + key)


def members(source: Json, key: str, at: str) -> list[Any]:
    """Return the list under *key*; one that is absent or null is empty."""
    value = source.get(key)
    if isinstance(value, list):
        return value
    return [] if value is None else as_list(value, at + key)


def nested(source: Json, key: str, inner: str, at: str) -> list[tuple[str, Json]]:
    """Return TOP's double-nested list `key.inner[]` (or a plain `key[]`), each with its path."""
    value = source.get(key)
    path = at + key
    if isinstance(value, dict):
        value = value.get(inner)
        path += "." + inner
    if value is None:
        return []
    return _placed(as_list(value, path), path)


def objects(source: Json, key: str, at: str) -> list[tuple[str, Json]]:
    """Return the objects of the list under *key*, each with its path; null is empty."""
    parts = members(source, key, at)
    return _placed(parts, at + key) if parts else []


def _placed(parts: list[Any], path: str) -> list[tuple[str, Json]]:
    for i, part in enumerate(parts):
        if not isinstance(part, dict):
            raise _wrong(f"{path}[{i}]", part, "an object")
    return [(f"{path}[{i}].", part) for i, part in enumerate(parts)]


def lines_of(parts: list[Any], path: str) -> list[Any]:
    """Return an order's lines, at least one and no more than are handled."""
    if not parts:
        raise MalformedPayload(path, "the order has no lines")
    if len(parts) > LINES_MAX:
        raise MalformedPayload(path, f"{len(parts)} lines, at most {LINES_MAX} are handled")
    return parts


# --- texts and ids ------------------------------------------------------------------------------


def _stored(value: str, at: str, key: str, length_max: int) -> str:
    """Return *value* without outer blanks, which has to be fit to be stored."""
    value = value.strip()
    if len(value) > length_max:
        raise MalformedPayload(at + key, f"{len(value)} characters, at most {length_max} are kept")
    if "\0" in value:
        raise MalformedPayload(at + key, "the text holds a NUL character, which cannot be stored")
    return value


def text(source: Json, key: str, at: str, length_max: int = TEXT_LENGTH_MAX) -> str | None:
    """Return the text under *key* without outer blanks; "" and null are None."""
    value = source.get(key)
    if isinstance(value, str):
        # Half of all fields are texts: `_stored` is called for those alone that it refuses.
        value = value.strip()
        if len(value) > length_max or "\0" in value:
            _stored(value, at, key, length_max)
        return value or None
    if value is None:
        return None
    raise _wrong(at + key, value, "a text")


def texts(source: Json, key: str, at: str) -> list[str]:
    """Return the texts of the list under *key* that are not empty."""
    named = {f"{key}[{i}]": value for i, value in enumerate(members(source, key, at))}
    found = (text(named, place, at) for place in named)
    return [said for said in found if said is not None]


def code(source: Json, key: str, at: str) -> str | None:
    """Return a SKU or the like, a text or a number; "", 0, "0" and null are None."""
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    elif not isinstance(value, str):
        raise _wrong(at + key, value, "a text or a whole number")
    value = _stored(value, at, key, ID_LENGTH_MAX)
    return None if value in ("", "0") else value


def the_code(source: Json, key: str, at: str) -> str:
    """Return an id that is a text or a number, which has to be there."""
    found = code(source, key, at)
    if found is None:
        raise MalformedPayload(at + key, "the id is missing")
    return found


def number_id(source: Json, key: str, at: str) -> str | None:
    """Return an id made of digits, digit for digit; "", 0 and null are None."""
    value = source.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 < value < _IDS_END:
            return str(value)
        value = str(value)
    if not isinstance(value, str) or not _DIGITS.fullmatch(value):
        raise _wrong(at + key, value, "an id of digits")
    return value if value.strip("0") else None


def the_number_id(source: Json, key: str, at: str) -> str:
    """Return an id made of digits, which has to be there."""
    found = number_id(source, key, at)
    if found is None:
        raise MalformedPayload(at + key, "the id is missing")
    return found


def word(source: Json, key: str, at: str) -> str | None:
    """Return a native status word, which some platforms write as a number; "" and null are None."""
    value = source.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        if not isinstance(value, (int, float)):
            raise _wrong(at + key, value, "a status word")
        value = str(value)
    return _stored(value, at, key, WORD_LENGTH_MAX) or None


def flag(source: Json, key: str, at: str) -> bool:
    """Return a yes or no, which some platforms write as a text; "" and null are no."""
    value = source.get(key)
    if isinstance(value, bool):
        return value
    said = "" if value is None else value
    if not isinstance(said, str) or said.lower() not in ("", "true", "false"):
        raise _wrong(at + key, value, "true or false")
    return said.lower() == "true"


# --- numbers ------------------------------------------------------------------------------------


def _whole(value: object) -> int | None:
    """Return a JSON integer or a text of digits as int; anything else is None."""
    if type(value) is int:  # a JSON reader makes no other kind, and true is none
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return None


def quantity(source: Json, key: str, at: str) -> int:
    """Return the units of a line, 1 to a billion: a JSON integer or a text of digits."""
    found = units(source, key, at)
    if found is None:
        raise MalformedPayload(at + key, "the quantity is missing")
    if found == 0:
        raise _wrong(at + key, source[key], f"a quantity from 1 to {QUANTITY_MAX}")
    return found


def units(source: Json, key: str, at: str) -> int | None:
    """Return a count that may be 0 (what is left of a line), or None where it is not said."""
    value = source.get(key)
    if value is None:
        return None
    found = _whole(value)
    if found is None or not 0 <= found <= QUANTITY_MAX:
        raise _wrong(at + key, value, f"a quantity from 1 to {QUANTITY_MAX}")
    return found


def fen(source: Json, key: str, at: str) -> int | None:
    """Return an amount in fen, an integer that is not negative; null is None."""
    value = source.get(key)
    if value is None or value == "":
        return None
    found = _whole(value)
    if found is None or not 0 <= found <= MINOR_MAX:
        raise _wrong(at + key, value, f"a whole number of fen from 0 to {MINOR_MAX}")
    return found


def money(source: Json, key: str, at: str, digits: int = 2) -> int | None:
    """
    Return an amount in minor units, not negative, from its decimal text; "" and null are None.

    A JSON number is read from its shortest decimal text. More decimals than the currency has are
    refused unless they are zeros (JPY "1980.00" is 1980 yen).
    """
    value = source.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        known = _plain_amount(value, digits)
        if known is not None:
            return known
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(at + key, value, "an amount of money")
    matched = _DECIMAL.fullmatch(value if isinstance(value, str) else repr(value))
    if matched is None:
        raise _wrong(at + key, value, "an amount of money")
    minus, whole, fraction = matched.group(1), matched.group(2), matched.group(3) or ""
    if fraction[digits:].strip("0"):
        raise _wrong(at + key, value, f"an amount with at most {digits} decimals")
    minor = int(whole + fraction[:digits].ljust(digits, "0"))
    if minor > MINOR_MAX or (minus and minor):
        raise _wrong(at + key, value, f"an amount from 0 to {MINOR_MAX} minor units")
    return minor


def _plain_amount(said: str, digits: int) -> int | None:
    """Return the amount of a text with exactly *digits* decimals; None asks for a closer look."""
    whole, point, fraction = said.partition(".")
    if len(fraction) != digits or len(whole) > _WHOLE_LENGTH_MAX or not (whole and said.isascii()):
        return None
    # Digits alone, before the point and after it: no sign, no blank, no second point.
    both = whole + fraction
    if not both.isdecimal() or (point and not fraction):
        return None
    minor = int(both)
    return minor if minor <= MINOR_MAX else None


def signed_money(source: Json, key: str, at: str, digits: int = 2) -> int | None:
    """Return an amount that may be negative: a refund, a discount, a correction."""
    value = source.get(key)
    if isinstance(value, str) and value[:1] == "-" and len(value) > 1:
        found = money({key: value[1:]}, key, at, digits)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        found = money({key: -value}, key, at, digits)
    else:
        return money(source, key, at, digits)
    return None if found is None else -found


# --- times --------------------------------------------------------------------------------------


def _moment(ms: int, said: str, zone: str, at: str, key: str) -> Moment:
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise _wrong(at + key, said, "a time between 1990 and 2100")
    return Moment(ms, said, zone)


def beijing(source: Json, key: str, at: str) -> Moment | None:
    """Return a time written `yyyy-MM-dd HH:mm:ss`, which is Beijing's (UTC+8)."""
    value = source.get(key)
    if value is None or str(value) in _NO_TIME:
        return None
    if not isinstance(value, str) or not _NAIVE.fullmatch(value):
        raise _wrong(at + key, value, "a time written yyyy-MM-dd HH:mm:ss")
    return _parsed(value, value + "+08:00", BEIJING, at, key)


def local(source: Json, key: str, at: str, zone: str) -> Moment | None:
    """
    Return a time written `yyyy-MM-dd HH:mm:ss` that is of *zone*, such as `America/Los_Angeles`.

    Where clocks go forward, an hour does not exist: a time in it is refused, because its zone must
    be another. Where they go back, an hour comes twice: the first is meant, so that no order is
    ever dated later than it was.
    """
    value = source.get(key)
    if value is None or str(value) in _NO_TIME:
        return None
    if not isinstance(value, str) or not _NAIVE.fullmatch(value):
        raise _wrong(at + key, value, "a time written yyyy-MM-dd HH:mm:ss")
    try:
        instant = datetime.fromisoformat(value).replace(tzinfo=ZoneInfo(zone), fold=0)
    except ValueError as error:
        raise _wrong(at + key, value, "a time that exists") from error
    there_and_back = instant.astimezone(UTC_ZONE).astimezone(instant.tzinfo)
    if there_and_back.replace(tzinfo=None) != instant.replace(tzinfo=None):
        raise _wrong(at + key, value, f"a time that exists in {zone}, where clocks went forward")
    return _moment(int(instant.timestamp()) * 1000, value, zone, at, key)


def offset(source: Json, key: str, at: str) -> Moment | None:
    """Return a time in ISO 8601 with its offset; one without an offset is refused, not guessed."""
    value = source.get(key)
    if value is None or value == "":
        return None
    matched = _OFFSET.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise _wrong(at + key, value, "an ISO 8601 time with an offset")
    zone = matched.group(1)
    return _parsed(value, value, UTC if zone == "Z" else zone, at, key)


def naive_utc(source: Json, key: str, at: str) -> Moment | None:
    """Return a time written `yyyy-MM-ddTHH:mm:ss` without a zone, which is UTC by its field."""
    value = source.get(key)
    if value is None or str(value).replace("T", " ") in _NO_TIME:
        return None
    if not isinstance(value, str) or not _NAIVE.fullmatch(value.replace("T", " ")):
        raise _wrong(at + key, value, "a time written yyyy-MM-ddTHH:mm:ss")
    return _parsed(value, value + "+00:00", UTC, at, key)


def offset_since_1970(source: Json, key: str, at: str) -> Moment | None:
    """Return a time as `offset` does, of a platform whose test orders are from January 1970."""
    value = source.get(key)
    if not isinstance(value, str) or not value.startswith("1970-"):
        return offset(source, key, at)
    # A leap of whole days that the limits know: 1970 and 1998 have the same calendar.
    later = offset({key: "1998" + value[4:]}, key, at)
    return later and Moment(later.ms - _YEARS_28_MS, value, later.zone)


def _parsed(said: str, iso: str, zone: str, at: str, key: str) -> Moment:
    try:
        ms = _ms_of(iso)
    except (ValueError, OverflowError) as error:
        raise _wrong(at + key, said, "a time that exists") from error
    return _moment(ms, said, zone, at, key)


@lru_cache(_KNOWN_MAX)
def _ms_of(iso: str) -> int:
    instant = datetime.fromisoformat(iso)
    # Whole milliseconds exactly: seconds since 1970 are far below 2^53 here.
    return int(instant.replace(microsecond=0).timestamp()) * 1000 + instant.microsecond // 1000


def _unix(source: Json, key: str, at: str, unit_ms: int, unit: str) -> Moment | None:
    value = source.get(key)
    if value is None or value == "":
        return None
    found = _whole(value)
    if found is None or found < 0:
        raise _wrong(at + key, value, f"a unix time in {unit}")
    if found == 0:
        return None
    return _moment(found * unit_ms, str(value), UTC, at, key)


def unix_seconds(source: Json, key: str, at: str) -> Moment | None:
    """Return a unix time in seconds; 0, "", "0" and null are None."""
    return _unix(source, key, at, 1000, "seconds")


def unix_ms(source: Json, key: str, at: str) -> Moment | None:
    """Return a unix time in milliseconds; 0, "", "0" and null are None."""
    return _unix(source, key, at, 1, "milliseconds")


def latest(*moments: Moment | None) -> int:
    """Return the ms of the latest of *moments*, 0 where none is said."""
    found = 0
    for moment in moments:
        if moment is not None and moment.ms > found:
            found = moment.ms
    return found


# --- the order's id in the raw bytes ------------------------------------------------------------


def only_match(pattern: re.Pattern[bytes]) -> Callable[[bytes], bytes | None]:
    """Return a reader of raw bytes: the one id *pattern* finds, None for none or several."""

    def read(payload: bytes) -> bytes | None:
        found = {matched.group(1) for matched in pattern.finditer(payload)}
        return found.pop() if len(found) == 1 else None

    return read


def only_order(parse: Callable[[bytes, str], list[Statement]], payload: bytes) -> bytes | None:
    """
    Return the one order that *payload* is about, by reading all of it; None for none or several.

    For platforms whose payloads carry other ids under the same name (a line, a replaced order).
    """
    try:
        found = {statement.order_id for statement in parse(payload, "")}
    except Rejected:
        return None
    return found.pop().encode() if len(found) == 1 else None
