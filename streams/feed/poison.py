"""
Poison: messages that no adapter may take, one of each kind of trouble in turn.

Promise: every one of them is refused by the adapter of its platform (a test says so), so each has
to be found parked, exactly once, and nothing else may be.
"""

import re
from collections.abc import Callable, Iterator
from itertools import count

from streams.feed.payloads import Step, render
from streams.feed.sending import Raw
from streams.feed.trade import SHOP, Trade, statements

#: Shopify's orders are plain JSON, which can be spoilt in every way.
PLATFORM = "shopify"
#: A seed that no trade beside it has.
_SEED = 9_999
_DEEP = 10_000
_WIDE_BYTES = 900_000

_QUANTITY = re.compile(rb'"quantity": ?\d+')
_CREATED = re.compile(rb'"created_at": ?"[^"]*"')
_ID = re.compile(rb'"id": ?\d+')


def messages(orders: int) -> Iterator[Raw]:
    """Yield poison for ever, made of *orders* orders that are sent by nobody else."""
    trade = Trade(orders=orders, seed=_SEED, platforms=(PLATFORM,), unpaid=True)
    whole = [render(said.draft, Step.CREATED) for said in statements(trade)]
    for nth in count():
        kind, value = _spoilt(whole[nth % len(whole)], nth)
        yield Raw(PLATFORM, SHOP, None, value, {"kind": f"poison, {kind}"})


def kinds() -> list[str]:
    """Return the kinds of trouble there are."""
    return list(_KINDS)


def _spoilt(payload: bytes, nth: int) -> tuple[str, bytes]:
    kind = list(_KINDS)[nth % len(_KINDS)]
    return kind, _KINDS[kind](payload)


_KINDS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda whole: whole[: len(whole) // 2],
    "a page": lambda _: b"<html><body>502 Bad Gateway</body></html>",
    "no UTF-8": lambda whole: whole.replace(b'"', b'"\xff\xfe', 1),
    "a list of numbers": lambda _: b"[1,2,3]",
    "deep": lambda _: b"[" * _DEEP + b"]" * _DEEP,
    "wide": lambda _: b'{"note":"' + b"x" * _WIDE_BYTES + b'"}',
    "one key twice": lambda whole: whole.replace(b"{", b'{"id":1,', 1),
    "not a number": lambda whole: _QUANTITY.sub(b'"quantity":NaN', whole),
    "too large a number": lambda whole: _QUANTITY.sub(b'"quantity":1e400', whole),
    "no id": lambda whole: _ID.sub(b'"nr":1', whole, count=1),
    "an id of words": lambda whole: _ID.sub(b'"id":{"a":1}', whole, count=1),
    "quantity zero": lambda whole: _QUANTITY.sub(b'"quantity":0', whole),
    "quantity -1": lambda whole: _QUANTITY.sub(b'"quantity":-1', whole),
    "quantity 2^63": lambda whole: _QUANTITY.sub(b'"quantity":9223372036854775808', whole),
    "year 9999": lambda whole: _CREATED.sub(b'"created_at":"9999-12-31T23:59:59Z"', whole),
}
