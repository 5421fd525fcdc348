"""
Where a page of a list ends, as a word in an address.

A cursor gives nobody a right and hides nothing: it says after which row to go on, and whoever may
see the list may go on anywhere in it. So it is not signed, but read strictly: what is no cursor is
refused with a sentence, whatever it is.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta

import msgspec

from schemas.errors import Rejected

#: A cursor is never longer; an order's key has at most 600 characters.
LENGTH_MAX = 3_600
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The years 1970 to 9999.
_US_MAX = 253_402_300_800_000_000

Place = tuple[datetime, str]


class BadCursor(Rejected):
    """bad_cursor"""


def written(at: datetime, key: str) -> str:
    """Return the cursor of the row *key* of the time *at*."""
    us = (at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(msgspec.json.encode((us, key))).decode().rstrip("=")


def read(said: str) -> Place | None:
    """Return where to go on; None where *said* is empty; raises BadCursor."""
    if not said:
        return None
    if len(said) > LENGTH_MAX:
        raise BadCursor
    try:
        text = base64.b64decode(said + "=" * (-len(said) % 4), altchars=b"-_", validate=True)
        us, key = msgspec.json.decode(text, type=tuple[int, str])
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadCursor from error
    if not 0 <= us < _US_MAX or "\0" in key or not key.isprintable():
        raise BadCursor
    return _EPOCH + timedelta(microseconds=us), key
