"""
The wall clock and the ids made from it. The only module that asks what time it is.

No rule reads it: deciding goes by the log's append time. It dates what people and the edge ask
for. An id carries its time in its first 48 bits, which is how a keeper knows one that is too old.
"""

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

_RANDOM_A_BITS = 12
_RANDOM_B_BITS = 62
_VERSION = 7
_VARIANT = 0b10


def now_ms() -> int:
    """Milliseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1_000_000


def at(ms: int) -> datetime:
    """Return the moment *ms* milliseconds since 1970-01-01T00:00:00Z, in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def new_id(at_ms: int | None = None) -> str:
    """Return a fresh UUIDv7 (RFC 9562, 5.7) of *at_ms*, or of now."""
    at = now_ms() if at_ms is None else at_ms
    random_a, random_b = secrets.randbits(_RANDOM_A_BITS), secrets.randbits(_RANDOM_B_BITS)
    return str(UUID(int=at << 80 | _VERSION << 76 | random_a << 64 | _VARIANT << 62 | random_b))
