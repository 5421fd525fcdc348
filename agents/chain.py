"""
The chain of the stock ledger: each entry seals itself and, through the one before, all before it.

    chain = sha256(chain of the SKU's entry before || bytes of this entry)

Before a SKU's first entry the chain is 32 zero bytes. The bytes of an entry are the JSON array of
its columns in the order of `MoveRow`, in UTF-8, without spaces; an instant is its milliseconds
since 1970, what is missing is null. Whoever has the rows can compute it again, in Python

    sha256(before + json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()).digest()

and in SQL, `sha256(before || stock_ledger_bytes(stock_ledger))`. The layout is for life: a column
that is added later is sealed by a new form, never by another meaning of this one.

Promise: one small function writes the bytes, for the writer and for whoever verifies.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from msgspec import json

from schemas.ledger import MoveRow

#: The chain before the first entry.
GENESIS = bytes(32)

_encode = json.Encoder().encode


def seal_of(before: bytes, entry: MoveRow) -> bytes:
    """Return the chain after *entry*, which follows on *before*."""
    return sha256(before + _encode(entry)).digest()


def sealed(
    entries: Iterable[MoveRow], heads: Mapping[str, bytes]
) -> tuple[list[tuple[object, ...]], dict[str, bytes]]:
    """Return *entries* with their chain as last column, and the SKUs' new heads."""
    after: dict[str, bytes] = {}
    rows: list[tuple[object, ...]] = []
    for entry in entries:
        sku = entry[0]
        before = after.get(sku) or heads.get(sku, GENESIS)
        after[sku] = chain = seal_of(before, entry)
        rows.append((*entry, chain))
    return rows, after
