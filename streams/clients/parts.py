"""
Cutting answers: msgspec finds the parts, `Raw` keeps each order in the platform's own bytes.

Also what several platforms have in common: signatures made of sorted parameters, times in Beijing,
pages that are numbered.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from hashlib import md5
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Raw

from streams.clients.calls import Answer, Page, Request, Unreadable

T = TypeVar("T")

#: Taobao, JD and Pinduoduo write times in it without saying so.
_BEIJING = timezone(timedelta(hours=8))
FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
JSON = {"Content-Type": "application/json"}


def cut(answer: Answer, into: type[T]) -> T:
    """Return the parts of *answer*; raises Unreadable."""
    try:
        return msgspec.json.decode(answer.body, type=into, strict=False)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Unreadable(f"the answer cannot be read: {error}") from None


def raws(parts: Iterable[Raw] | None) -> tuple[bytes, ...]:
    """Return each part in its own bytes."""
    return tuple(bytes(part) for part in parts or ())


def under(answer: Answer, *keys: str) -> bytes:
    """Return the bytes under *keys*, one layer after the other; raises Unreadable."""
    part: bytes = answer.body
    for key in keys:
        found = cut(Answer(status=200, body=part), dict[str, Raw])
        if key not in found:
            raise Unreadable(f"the answer has no {key}")
        part = bytes(found[key])
    return part


def field_of(part: bytes, key: str) -> str:
    """Return the field *key* of one order as text, its digits as they are; raises Unreadable."""
    found = cut(Answer(status=200, body=part), dict[str, Raw])
    value = bytes(found.get(key, Raw(b"null"))).decode()
    if value in ("null", '""'):
        raise Unreadable(f"an order has no {key}")
    return value.strip('"')


def loosely(answer: Answer) -> dict[str, Any]:
    """Return the answer as an object, or nothing: for reading what kind of error it is."""
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def inside(body: Mapping[str, Any], *keys: str) -> Any:
    """Return what lies under *keys*, one layer after the other; None where it ends before."""
    found: Any = body
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def beijing(at_ms: int) -> str:
    """Return a moment as `yyyy-MM-dd HH:mm:ss` in Beijing."""
    return datetime.fromtimestamp(at_ms // 1000, _BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def iso_utc(at_ms: int) -> str:
    """Return a moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def joined(params: Mapping[str, str]) -> str:
    """Return the parameters sorted, keys and values one after the other."""
    return "".join(key + params[key] for key in sorted(params))


def signed(params: dict[str, str], secret: str) -> dict[str, str]:
    """Return *params* signed as Taobao (md5), JD and Pinduoduo do: the secret around them."""
    text = secret + joined(params) + secret
    return {**params, "sign": md5(text.encode(), usedforsecurity=False).hexdigest().upper()}


def hmac_hex(secret: str, text: str, how: str = "sha256") -> str:
    """Return an HMAC in hexadecimal."""
    return hmac.digest(secret.encode(), text.encode(), how).hex()


def compact(value: Any) -> str:
    """Return JSON without blanks, keys sorted: what is signed is exactly what is sent."""
    return msgspec.json.encode(value, order="deterministic").decode()


def posted(url: str, params: Mapping[str, str]) -> Request:
    """Return a form."""
    return Request(method="POST", url=url, headers=FORM, body=urlencode(params).encode())


def got(url: str, params: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Request:
    """Return a question in the address."""
    question = f"?{urlencode(params)}" if params else ""
    return Request(method="GET", url=url + question, headers=headers or {})


def with_json(asked: Request, value: Any, method: str = "POST") -> Request:
    """Return *asked*, its address and headers, with *value* as its body."""
    return replace(
        asked, method=method, headers={**JSON, **asked.headers}, body=compact(value).encode()
    )


def backwards(
    mark: str | None, total: int, size: int, *, first: int = 1, **found: tuple[Any, ...]
) -> Page:
    """
    Return the page and the number of the one to ask for next, read from the last page to the first.

    An order that changes while the pages are read leaves the window, and those behind it move up:
    forwards one would be passed over, backwards one is only seen twice. The first question (no
    mark) asks for the first page, to learn how many there are; unless it is the only one it is
    asked for again at the end.
    """
    last = first + max(0, -(-total // size) - 1)
    if mark is None:
        return Page(**found, next=str(last) if last > first else None)
    number = int(mark)
    return Page(**found, next=str(number - 1) if number > first else None)


def page_of(mark: str | None, first: int = 1) -> int:
    """Return the number of the page to ask for."""
    return first if mark is None else int(mark)
