"""
Operators' API keys: made at the command line, printed once, kept as a hash.

Promises: a key cannot be read back from what is kept; whether it is right takes the same time
whatever is wrong with it; one that is revoked is refused from the next request on. Every key is one
person's: its name stands in every trail.
"""

import hmac
import re
import secrets
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from schemas.errors import Rejected
from streams.operations.rights import Role
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

Row = dict[str, Any]

#: `ofk`, the id, the secret: 256 random bits, so that a plain hash cannot be searched.
_FORM = re.compile(r"ofk_([0-9a-f]{12})_([0-9a-f]{64})")
_NAME_LENGTH_MAX = 100
#: What a key nobody has is compared with.
_NOBODYS = bytes(32)
_connected = partial(connected, name="orderflow-keys")


class Made(NamedTuple):
    """A new key; it is never seen again."""

    id: str
    key: str


class Found(NamedTuple):
    """Whose key it is."""

    name: str
    role: Role


async def make(owner: str, name: str, role: Role, by: str, why: str) -> Made:
    """Make a key for *name*. Raises Rejected, LedgerUnavailable."""
    if not name.strip() or len(name) > _NAME_LENGTH_MAX or not name.isprintable():
        raise Rejected(
            f"An operator's name has 1 to {_NAME_LENGTH_MAX} characters that can be seen."
        )
    if not why.strip():
        raise Rejected("The reason is empty; it stays with the key.")
    id_, secret = secrets.token_hex(6), secrets.token_hex(32)
    async with _connected(owner) as connection:
        await connection.execute(
            sql("make_operator_key"), id_, name.strip(), role.value, _hash(secret), by, why
        )
    return Made(id_, f"ofk_{id_}_{secret}")


async def listed(owner: str) -> list[Row]:
    """Return who has which key; never the keys."""
    async with _connected(owner) as connection:
        return [dict(row) for row in await connection.fetch(sql("operator_keys"))]


async def revoke(owner: str, id_: str, by: str, why: str) -> bool:
    """Let a key count no more; False: there is none of that id that counts."""
    if not why.strip():
        raise Rejected("The reason is empty; it stays with the key.")
    async with _connected(owner) as connection:
        tag: str = await connection.execute(sql("revoke_operator_key"), id_, by, why)
        return not tag.endswith(" 0")


async def whose(dsn: str, key: str) -> Found | None:
    """Return whose *key* it is; None where it is nobody's, or nobody's any more."""
    met = _FORM.fullmatch(key)
    if met is None:
        return None
    async with _connected(dsn) as connection:
        row = await connection.fetchrow(sql("operator_key"), met[1])
    known = row["hash"] if row is not None else _NOBODYS
    if not hmac.compare_digest(known, _hash(met[2])) or row is None:
        return None
    if row["revoked_at"] is not None or row["role"] not in set(Role):
        return None
    return Found(row["name"], Role(row["role"]))


def _hash(secret: str) -> bytes:
    return sha256(secret.encode("ascii")).digest()
