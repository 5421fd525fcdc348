"""
One cell of a file as a value, or a MalformedPayload that names the field.

Spreadsheets do things to values that nobody asked for, and each is either undone exactly or
refused: `="00123"` and `'00123` are texts, a tab before a number only kept it one, and an id that
became 3.40188E+15 has lost its digits for good.

A time has its own offset, or is read in the zone that a person chose. With neither it raises
ZoneNeeded: there is no third way, because a time read in the wrong zone looks like a right one.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.base import ID_LENGTH_MAX, QUANTITY_MAX
from schemas.errors import MalformedPayload, Rejected
from streams.adapters.currencies import DIGITS
from streams.adapters.reading import EARLIEST_MS, LATEST_MS, TEXT_LENGTH_MAX, money

#: How much of a wrong value a message repeats.
_SHOWN_MAX: Final = 40
#: Times that are remembered with their reading: rows of one minute share theirs.
_KNOWN_MAX: Final = 65_536

#: Null, as exports write it.
NOTHING: Final = frozenset({"", "-", "--", "—", "null", "NULL", "None", "N/A", "#N/A", "无"})
#: What a formula leaves where it has failed.
BROKEN: Final = frozenset({"#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "########"})
_HALF = re.compile("[\ud800-\udfff]")
_FORMULA_TEXT = re.compile(r'="(.*)"', re.DOTALL)
_ROUNDED = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}")
_GUARDED = re.compile(r"'(?=[=+\-@\t\r\n'0-9])")
_COUNT = re.compile(r"([0-9]{1,10})(?:\.0{1,4})?")
_TIME = re.compile(
    r"([0-9]{4})[-/.]([0-9]{1,2})[-/.]([0-9]{1,2})"
    r"(?:[T ]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,6}))?)?)?"
    r" ?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?"
)
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")
_HOURS_MAX: Final = 14


class ZoneNeeded(Rejected):
    """A time says no offset, and nobody said which zone it is in."""

    def __init__(self, field: str, said: str) -> None:
        super().__init__(f"{field}: {said!r} says no zone")
        self.field = field
        self.said = said


class Instant(NamedTuple):
    """A time as it was read."""

    ms: int
    #: ISO 8601 with the offset it was read with.
    iso: str
    #: It said its offset itself.
    is_told: bool


def plain(said: str) -> str:
    """Return a cell without what only kept a spreadsheet from touching it; null is ""."""
    said = said.strip()
    if not said.isascii():
        said = said.strip("\u200b\ufeff")
    if said.startswith("="):
        matched = _FORMULA_TEXT.fullmatch(said)
        said = matched.group(1).strip() if matched else said
    elif said.startswith("'"):
        said = _GUARDED.sub("", said, count=1).strip()
    return "" if said in NOTHING else said


def wrong(field: str, said: str, wanted: str) -> MalformedPayload:
    """Return the error for a cell that is not what it should be."""
    shown = said if len(said) <= _SHOWN_MAX else said[:_SHOWN_MAX] + "…"
    return MalformedPayload(field, f"{shown!r} is not {wanted}")


def checked(field: str, said: str) -> str:
    """Return *said*, which has to be fit to be stored and not what a failed formula left."""
    if said in BROKEN:
        raise wrong(field, said, "a value: its formula failed")
    if not said.isascii() and _HALF.search(said):
        raise MalformedPayload(field, "the text has half a character (lone surrogate)")
    if "\0" in said:
        raise MalformedPayload(field, "the text holds a NUL character, which cannot be stored")
    return said


def an_id(field: str, said: str) -> str:
    """Return an id, digit for digit."""
    if _ROUNDED.fullmatch(said):
        raise wrong(
            field, said, "an id any more: a spreadsheet has rounded it; format the column as text"
        )
    if len(said) > ID_LENGTH_MAX or not said.isprintable() or " " in said:
        raise wrong(field, said, f"an id: up to {ID_LENGTH_MAX} characters without blanks")
    return said


def a_code(field: str, said: str) -> str:
    """Return a SKU or the like."""
    if _ROUNDED.fullmatch(said) and "+" in said:
        raise wrong(
            field, said, "a code any more: a spreadsheet has rounded it; format the column as text"
        )
    if len(said) > ID_LENGTH_MAX:
        raise wrong(field, said, f"a code of up to {ID_LENGTH_MAX} characters")
    return said


def a_text(field: str, said: str) -> str:
    """Return a text of any kind."""
    if len(said) > TEXT_LENGTH_MAX:
        raise MalformedPayload(field, f"{len(said)} characters, at most {TEXT_LENGTH_MAX} are kept")
    return said


def a_word(field: str, said: str, words: Mapping[str, object], kind: str) -> str:
    """Return the word of ours that *said* stands for."""
    found = words.get(said)
    if found is None:
        raise wrong(field, said, f"a {kind} word of ours or of the platform's")
    return str(found)


def a_count(field: str, said: str) -> int:
    """Return a whole number from 1."""
    matched = _COUNT.fullmatch(said)
    found = int(matched.group(1)) if matched else 0
    if not 1 <= found <= QUANTITY_MAX:
        raise wrong(field, said, f"a quantity from 1 to {QUANTITY_MAX}")
    return found


def a_currency(field: str, said: str) -> str:
    """Return an ISO 4217 code."""
    if said not in DIGITS:
        raise wrong(field, said, "a currency of ISO 4217, such as CNY")
    return said


def an_amount(field: str, said: str, currency: str | None) -> int:
    """Return an amount in minor units of *currency*, from its decimal digits."""
    if currency is None:
        raise MalformedPayload(
            field, "an amount of which currency? Have a column `currency`, or say --currency"
        )
    amount = said.lstrip("¥￥$€£").strip()
    found = money({field: amount}, field, "", DIGITS[currency])
    if found is None:
        raise wrong(field, said, "an amount of money")
    return found


# --- times ----------------------------------------------------------------------------------------


def zone_of(name: str) -> tzinfo:
    """Return the zone called *name*, `Asia/Shanghai` or `+08:00`; raises Rejected."""
    matched = _OFFSET.fullmatch(name)
    if matched and int(matched.group(2)) <= _HOURS_MAX and int(matched.group(3)) < 60:
        span = timedelta(hours=int(matched.group(2)), minutes=int(matched.group(3)))
        return timezone(-span if matched.group(1) == "-" else span)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Rejected(
            f"There is no time zone {name!r}; write Asia/Shanghai, America/Los_Angeles or +08:00."
        ) from None


def a_time(field: str, said: str, zone: str | None) -> Instant:
    """Return the instant; raises ZoneNeeded where neither the cell nor a person says the zone."""
    found = _read(said, zone)
    if isinstance(found, Instant):
        return found
    if found is None:
        raise ZoneNeeded(field, said)
    raise wrong(field, said, found)


@lru_cache(_KNOWN_MAX)
def _read(said: str, zone: str | None) -> Instant | str | None:
    """Return the instant, what it should be instead, or None where a zone is needed."""
    matched = _TIME.fullmatch(said)
    if matched is None:
        return "a time written year first, such as 2026-11-11 00:05:00"
    year, month, day, hour, minute, second, fraction, offset = matched.groups()
    if hour is None:
        return "a time: a day alone begins at another instant in every zone"
    try:
        micros = int((fraction or "0").ljust(6, "0"))
        naive = datetime(  # noqa: DTZ001  it gets its zone below, or is refused
            int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros
        )
    except ValueError:
        return "a time that exists"
    if offset is None and zone is None:
        return None
    where = zone_of(zone or "") if offset is None else _zone_said(offset)
    if where is None:
        return "a time with an offset that exists"
    return _placed(naive, where, zone, is_told=offset is not None)


def _zone_said(offset: str) -> tzinfo | None:
    if offset in ("Z", "UTC", "GMT"):
        return UTC
    try:
        return zone_of(offset)
    except Rejected:
        return None


def _placed(naive: datetime, where: tzinfo, zone: str | None, *, is_told: bool) -> Instant | str:
    """
    Return the instant at which clocks in *where* showed *naive*.

    Where clocks go forward, an hour does not exist: a time in it shows that the zone is another.
    Where they go back, the first of the two is meant, so that no order is dated too late.
    """
    instant = naive.replace(tzinfo=where, fold=0)
    back = instant.astimezone(UTC).astimezone(where)
    if back.replace(tzinfo=None) != naive:
        return f"a time that exists in {zone}, where clocks went forward"
    whole = int(instant.replace(microsecond=0).timestamp()) * 1000
    ms = whole + instant.microsecond // 1000
    if not EARLIEST_MS <= ms < LATEST_MS:
        return "a time between 1990 and 2100"
    offset = instant.utcoffset()
    if offset is not None and offset.total_seconds() % 60:
        return "a time with an offset of whole minutes"
    return Instant(ms, instant.isoformat(), is_told)
