"""
Which partition a key belongs to: Kafka's murmur2, as every Kafka client computes it.

Promise: the same key gives the same partition as the Java client and aiokafka, for ever. A test
compares this with aiokafka's own function on random keys.
"""

from collections.abc import Callable, Mapping
from struct import Struct as Layout

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_WORD = 0xFFFFFFFF
#: Keys whose hash is remembered; keys come back far more often than not.
_REMEMBERED_MAX = 200_000

_WORDS = tuple(Layout(f"<{n}I") for n in range(65))


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of *data*."""
    length = len(data)
    hash_ = _SEED ^ length
    whole = length >> 2
    words = (_WORDS[whole] if whole < len(_WORDS) else Layout(f"<{whole}I")).unpack_from(data)
    for word in words:
        mixed = word * _MIX & _WORD
        mixed = (mixed ^ mixed >> 24) * _MIX & _WORD
        hash_ = hash_ * _MIX & _WORD ^ mixed
    if rest := data[whole << 2 :]:
        hash_ = (hash_ ^ int.from_bytes(rest, "little")) * _MIX & _WORD
    hash_ = (hash_ ^ hash_ >> 13) * _MIX & _WORD
    return hash_ ^ hash_ >> 15


def partitioner(counts: Mapping[str, int]) -> Callable[[str, bytes], int]:
    """Return `partition_of(topic, key)` for topics with these partition *counts*."""
    remembered: dict[bytes, int] = {}

    def partition_of(topic: str, key: bytes) -> int:
        hash_ = remembered.get(key)
        if hash_ is None:
            if len(remembered) >= _REMEMBERED_MAX:
                remembered.clear()
            hash_ = remembered[key] = murmur2(key) & 0x7FFFFFFF
        return hash_ % counts[topic]

    return partition_of
