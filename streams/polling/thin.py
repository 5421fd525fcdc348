"""
Which orders a raw message names without saying what they are.

The adapters know: they leave a notice on such a statement. So a message that came from a webhook,
from a file or over a platform's own channel is treated alike, and an order that was fetched is not
taken for a message that asks for it.
"""

from schemas.errors import Rejected
from schemas.orders import NoticeCode, Statement
from streams.adapters import ADAPTERS, reader_of


def named_in(platform: str, shop: str, payload: bytes) -> list[str]:
    """Return the orders that have to be asked for; a message that cannot be read is intake's."""
    try:
        said = reader_of(ADAPTERS[platform], payload).parse(payload, shop)
    except (Rejected, ValueError):
        return []
    return list(dict.fromkeys(each.order_id for each in said if is_thin(each)))


def is_thin(said: Statement) -> bool:
    """Tell whether *said* only names its order."""
    return any(notice.code is NoticeCode.THIN for notice in said.notices)
