"""Who is called when a shop is told of a parcel: the shops file, as the poller reads it."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from streams.clients.calls import Access, Client
from streams.clients.shipping import Accounts
from streams.polling.accounts import Account

#: The most calls that one attempt makes: look, ask, look at the order.
CALLS_MAX: Final = 3
#: Parcels of one shop that are being told at a time, where its rate allows.
AT_ONCE_MAX: Final = 4

Known = Mapping[tuple[str, str], Account]


class Shop(NamedTuple):
    """A shop whose platform can be told, as the queue knows it."""

    #: `platform:shop`.
    id: str
    host: str
    at_once: int


def accounts_of(known: Known) -> Accounts:
    """Return who is called for a shop."""

    def account(platform: str, shop: str) -> tuple[Client, Access] | None:
        found = known.get((platform, shop))
        return None if found is None else (found.client, found.access)

    return account


def destination_of(platform: str, shop: str) -> str:
    """Return what the queue calls a shop's platform."""
    return f"{platform}:{shop}"


def told_shops(known: Known, within_s: float) -> list[Shop]:
    """Return the shops that can be told of parcels, where an attempt may take *within_s*."""
    return [
        Shop(
            destination_of(*key),
            urlsplit(account.access.base_url).netloc,
            _at_once(account.client, account.access, within_s),
        )
        for key, account in sorted(known.items())
        if account.client.ships is not None
    ]


def _at_once(client: Client, access: Access, within_s: float) -> int:
    """
    Return how many attempts may be under way, so that none spends its time waiting for its turn.

    An attempt that ends in a queue of our own making would count as the platform's silence.
    """
    own = client.ships.rate if client.ships is not None else None
    rates = [access.rate or own or client.rate, access.rate or client.details_rate or client.rate]
    slowest = min(rate.per_s for rate in rates)
    return max(1, min(AT_ONCE_MAX, int(slowest * within_s / CALLS_MAX)))
