"""
What operators were told: the same id gets the same answer, yes or no, for 24 hours.

A command from outside carries a UUIDv7; the row it is about remembers the ids and answers of the
last 24 hours, refused ones too, and an older id is refused as too old. So asking again is always
safe, and an id is never done twice.
"""

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import Struct, msgpack

from schemas.errors import MalformedPayload, Refusal

#: How long an operator's command id is remembered; an older one is refused as too old.
REMEMBER_MS = 24 * 60 * 60 * 1000
#: Hex digits of a UUID.
UUID_DIGITS = 32


class Answer(Struct, frozen=True, array_like=True, gc=False):
    """What an operator's command was told."""

    id: str
    digest: bytes
    refusal: Refusal | None
    #: What was available, or left to return.
    available: int


def digest_of(command: Struct) -> bytes:
    """Return what tells two commands of one id apart."""
    return blake2b(msgpack.encode(command), digest_size=8).digest()


def remembered(answers: Sequence[Answer], at_ms: int) -> list[Answer]:
    """Return those that are not too old to be asked again, oldest first."""
    horizon = at_ms - REMEMBER_MS
    return [answer for answer in answers if asked_at(answer.id, at_ms) >= horizon]


def told_before(kept: Sequence[Answer], command_id: str, digest: bytes) -> Answer | None:
    """Return what this id was told before; other content under the same id is refused."""
    for answer in kept:
        if answer.id == command_id:
            refusal = answer.refusal if answer.digest == digest else Refusal.ID_REUSED
            return Answer(answer.id, digest, refusal, answer.available)
    return None


def refused_unheard(
    kept: Sequence[Answer], command_id: str, at_ms: int, most: int
) -> Refusal | None:
    """Say why a new id cannot be looked at: too old, or *most* of them are remembered."""
    if asked_at(command_id, at_ms) < at_ms - REMEMBER_MS:
        return Refusal.TOO_OLD
    return Refusal.TOO_LARGE if len(kept) >= most else None


def forgotten_at(answers: Sequence[Answer]) -> int:
    """Return when the last of these, at least one, is too old to be asked again, ms."""
    return max(_time_in(answer.id) for answer in answers) + REMEMBER_MS + 1


def asked_at(command_id: str, at_ms: int) -> int:
    """
    Return the time in a command's id, ms.

    Raises MalformedPayload when it is no UUIDv7, or lies a day or more after *at_ms*.
    """
    asked_ms = _time_in(command_id)
    if asked_ms > at_ms + REMEMBER_MS:
        raise MalformedPayload("id", f"{command_id} carries a time more than a day ahead")
    return asked_ms


def _time_in(command_id: str) -> int:
    """Return the first 48 bits of a UUIDv7 (RFC 9562, 5.7). Raises MalformedPayload."""
    digits = command_id.replace("-", "")
    try:
        asked_ms = int(digits[:12], 16)
        good = len(digits) == UUID_DIGITS and digits[12] == "7"
    except ValueError:
        good = False
        asked_ms = 0
    if not good:
        raise MalformedPayload("id", f"{command_id!r} is not a UUIDv7")
    return asked_ms
