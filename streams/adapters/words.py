"""
Native words that one field says and one table knows; what the table does not know is noticed.

Adapters whose status is derived from several fields read them on their own.
"""

from collections.abc import Mapping

from schemas.orders import Notice, NoticeCode, Status
from streams.adapters.reading import Json, code, word


def status_of(
    statuses: Mapping[str, Status], source: Json, key: str, at: str, notices: list[Notice]
) -> tuple[Status | None, str | None]:
    """Return the status under *key* and the platform's word for it; None and None: not said."""
    said = word(source, key, at)
    if said is None:
        return None, None
    if said not in statuses:
        notices.append(Notice(NoticeCode.UNKNOWN_STATUS, at + key, said))
    return statuses.get(said, Status.UNKNOWN), said


def merchant_sku(source: Json, keys: tuple[str, ...], at: str, notices: list[Notice]) -> str | None:
    """Return the first merchant SKU under *keys*; a line without one is noticed."""
    found = next(filter(None, (code(source, key, at) for key in keys)), None)
    if found is None:
        notices.append(Notice(NoticeCode.NO_MERCHANT_SKU, at + keys[0], ""))
    return found
