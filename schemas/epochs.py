"""
The word that a new epoch of a keeper's letters begins, as the public reads it.

An operator says it, not a keeper: it stands on every topic that a keeper sends to, before the
first message of that epoch. Internally the same is said by a bare prefix (`agents/letters.py`).
"""

from typing import Annotated

from msgspec import Meta, Struct

#: The greatest epoch and partition that a letter's prefix holds.
EPOCH_MAX = 2**32 - 1
PARTITION_MAX = 2**16 - 1


class EpochAnnounced(Struct, frozen=True, kw_only=True, gc=False, tag_field="event", tag=True):
    """From here on `sequence` of that keeper's partition begins at 1 again, in this epoch."""

    #: As in `source`: `orders`, `stock`.
    keeper: Annotated[str, Meta(min_length=1)]
    partition: Annotated[int, Meta(ge=0, le=PARTITION_MAX)]
    #: As in `source`; above every epoch before it.
    epoch: Annotated[int, Meta(ge=1, le=EPOCH_MAX)]
