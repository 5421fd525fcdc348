"""
AES-128 in CBC mode, decryption only: what one platform's push messages are encrypted with.

A message is a few hundred bytes and comes a few times a second, so plain Python is fast enough and
spares a compiled dependency. Nothing is encrypted here, and no secret is kept: what comes out is
only ever read by an adapter, strictly, so neither timing nor padding tells a sender anything he
could not read in the refusal.

FIPS 197 in its own words: bytes are polynomials over GF(2), modulo x^8 + x^4 + x^3 + x + 1; the
state is 16 bytes, column after column.
"""

from itertools import pairwise
from typing import Final

BLOCK: Final = 16
_ROUNDS: Final = 10


class DecryptionError(ValueError):
    """The text is not what AES-128-CBC with this key makes."""


def _times(a: int, b: int) -> int:
    """Return the product of two polynomials."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _substitutes() -> bytes:
    """Return the S-box: each byte's inverse, its bits mixed."""
    powers = [1]
    while len(powers) < 255:
        powers.append(_times(powers[-1], 3))  # 3 makes every byte but 0
    inverses = dict(zip(powers, [1, *reversed(powers[1:])], strict=True))
    table = []
    for inverse in (inverses.get(byte, 0) for byte in range(256)):
        twice = inverse << 8 | inverse
        mixed = inverse ^ 0x63
        for turn in range(4, 8):
            mixed ^= twice >> turn & 0xFF
        table.append(mixed)
    return bytes(table)


_SUBSTITUTES: Final = _substitutes()
_ORIGINALS: Final = bytes(_SUBSTITUTES.index(byte) for byte in range(256))
#: Byte i of the state before its row was shifted.
_UNSHIFTED: Final = tuple((i - 4 * (i % 4)) % BLOCK for i in range(BLOCK))
#: The products that undo the mixing of a column.
_BY: Final = {factor: bytes(_times(factor, b) for b in range(256)) for factor in (9, 11, 13, 14)}


def _round_keys(key: bytes) -> list[bytes]:
    words = [key[i : i + 4] for i in range(0, BLOCK, 4)]
    constant = 1
    while len(words) < 4 * (_ROUNDS + 1):
        word = words[-1]
        if len(words) % 4 == 0:
            turned = (word[1:] + word[:1]).translate(_SUBSTITUTES)
            word = bytes([turned[0] ^ constant]) + turned[1:]
            constant = _times(constant, 2)
        words.append(_added(word, words[-4]))
    return [b"".join(words[i : i + 4]) for i in range(0, len(words), 4)]


def _added(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _unmixed(state: bytes) -> bytes:
    nine, eleven, thirteen, fourteen = (_BY[factor] for factor in (9, 11, 13, 14))
    out = bytearray()
    for i in range(0, BLOCK, 4):
        column = state[i : i + 4]
        for row in range(4):
            a, b, c, d = column[row:] + column[:row]
            out.append(fourteen[a] ^ eleven[b] ^ thirteen[c] ^ nine[d])
    return bytes(out)


def _decrypted_block(block: bytes, keys: list[bytes]) -> bytes:
    state = _added(block, keys[_ROUNDS])
    for number in reversed(range(_ROUNDS)):
        shifted = bytes(state[i] for i in _UNSHIFTED)
        state = _added(shifted.translate(_ORIGINALS), keys[number])
        if number:
            state = _unmixed(state)
    return state


def decrypted(text: bytes, key: bytes, start: bytes = bytes(BLOCK)) -> bytes:
    """Return the plain bytes of *text* without their padding, or raise DecryptionError."""
    if len(key) != BLOCK:
        raise DecryptionError(f"the key has {len(key)} bytes, not {BLOCK}")
    if not text or len(text) % BLOCK:
        raise DecryptionError(f"{len(text)} bytes are not whole blocks of {BLOCK}")
    keys = _round_keys(key)
    blocks = [start, *(text[i : i + BLOCK] for i in range(0, len(text), BLOCK))]
    plain = b"".join(
        _added(_decrypted_block(block, keys), before) for before, block in pairwise(blocks)
    )
    padding = plain[-1]
    if not 1 <= padding <= BLOCK or plain[-padding:] != bytes([padding]) * padding:
        raise DecryptionError("the padding is wrong: another key, or a damaged text")
    return plain[:-padding]
